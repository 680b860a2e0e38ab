import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support import command_line
from tests.support.table_files import FORMATS, write_table

CONTRACT = """
contract: 1
model: m
fields:
  temp: {type: float}
  seats: {type: int}
  zip: {type: category}
  email: {type: category, pii: drop}
  booked: {type: timestamp, from: features.booked_at}
  score: {type: float}
"""
N = 500
RNG = np.random.default_rng(4)
START = datetime(2026, 3, 1, tzinfo=UTC)
TRAIN = pa.table(
    {
        "id": [f"p{i:04}" for i in range(N)],
        "temp": np.round(RNG.normal(70, 10, N), 2),
        "seats": RNG.integers(50, 300, N),
        "zip": [f"{i % 97:05}" for i in range(N)],
        "email": [f"secret{i}@b.example" for i in range(N)],
        "booked_at": [START + timedelta(minutes=i) for i in range(N)],
    }
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(CONTRACT)
    write_table("train.parquet", TRAIN)


COMPARED = ("--served", "s.parquet", "--recomputed", "train.parquet")
run = partial(command_line.run, "skew")
Compare = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def skew(capsys: pytest.CaptureFixture[str]) -> Compare:
    def compared(served: pa.Table, *words: str, name: str = "s.parquet") -> tuple[int, dict[str, Any]]:
        write_table(name, served)
        code, report = command_line.call_json(capsys, "skew", *COMPARED, "--served", name, "--format", "json", *words)
        return code, {**report, "by": {each["field"]: each for each in report["fields"]}}

    return compared


def changed(name: str, values: Any) -> pa.Table:
    return TRAIN.set_column(TRAIN.column_names.index(name), name, [pa.array(values)])


@pytest.mark.parametrize("name", [f"s.{suffix}" for suffix in FORMATS])
@pytest.mark.parametrize("words", [(), ("--contract", "m.yaml")])
def test_every_file_format_gives_the_same_comparison(name: str, words: tuple[str, ...], skew: Compare) -> None:
    code, report = skew(TRAIN, *words, name=name)
    if name == "s.csv" and not words:
        # Without a contract CSV columns of digits are numbers; with it zip codes keep their zeros.
        assert {name for name, field in report["by"].items() if field["mismatched"]} <= {"zip"}
    else:
        assert (code, [each for each in report["fields"] if each["mismatched"]]) == (0, [])
    assert {"temp", "seats", "zip", "email"} <= report["by"].keys()
    code, report = skew(changed("temp", TRAIN["temp"].to_numpy() * 1000), *words, name=name)
    assert code == 1
    assert report["by"]["temp"]["kinds"] == ["constant factor"]


def test_rows_are_joined_by_id_in_any_order(skew: Compare) -> None:
    order = RNG.permutation(N)[:300]
    served = pa.concat_tables([TRAIN.take(pa.array(order)), changed("id", [f"q{i}" for i in range(N)]).slice(0, 7)])
    code, report = skew(served)
    assert code == 0
    assert (report["served_rows"], report["compared_rows"]) == (307, 300)
    assert (report["only_served"], report["only_recomputed"], report["repeated"]) == (7, 200, 0)


def test_repeated_ids_are_reported(skew: Compare) -> None:
    doubled = pa.concat_tables([TRAIN, changed("temp", np.zeros(N)).slice(0, 10)])
    write_table("train.parquet", doubled)
    code, report = skew(pa.concat_tables([TRAIN, TRAIN.slice(0, 5)]))
    assert code == 0, "the first of each recomputed id counts"
    assert (report["compared_rows"], report["only_recomputed"], report["repeated"]) == (N + 5, 0, 10)


def test_times_are_compared_to_the_millisecond_and_text_as_times(skew: Compare) -> None:
    later = [moment + timedelta(hours=5) for moment in TRAIN["booked_at"].to_pylist()]
    _, report = skew(changed("booked_at", later), "--contract", "m.yaml")
    assert report["by"]["booked"]["explanations"][0]["detail"] == "served = recomputed + 5 h (another time zone?)"
    assert report["by"]["booked"]["samples"][0]["served"] == "2026-03-01T05:00:00.000+00:00"
    texts = [moment.isoformat() for moment in TRAIN["booked_at"].to_pylist()]
    assert skew(changed("booked_at", texts), "--contract", "m.yaml")[0] == 0
    later_ms = [int(moment.timestamp() * 1000) + 1 for moment in TRAIN["booked_at"].to_pylist()]
    assert skew(changed("booked_at", later_ms), "--contract", "m.yaml")[1]["by"]["booked"]["mismatched"] == N


def test_numbers_as_text_are_the_same_numbers_and_text_is_text(skew: Compare) -> None:
    assert skew(changed("seats", [str(i) for i in TRAIN["seats"].to_pylist()]))[0] == 0
    assert skew(changed("zip", [text.lstrip("0") or "0" for text in TRAIN["zip"].to_pylist()]))[0] == 1
    served = changed("temp", TRAIN["temp"].to_numpy() * 1.001)
    assert (skew(served)[0], skew(served, "--tolerance", "0.01")[0]) == (1, 0)
    large = np.arange(N) + 2_000_000_000
    write_table("train.parquet", changed("seats", large))
    _, report = skew(changed("seats", large + 1))
    assert report["by"]["seats"]["explanations"][0]["detail"] == "served = recomputed + 1", "compared exactly"


def test_personal_data_is_compared_and_never_shown(skew: Compare, capsys: pytest.CaptureFixture[str]) -> None:
    served = changed("email", [text.upper() for text in TRAIN["email"].to_pylist()])
    _, report = skew(served, "--contract", "m.yaml")
    assert report["by"]["email"]["kinds"] == ["category spelling"]
    assert report["by"]["email"]["samples"][0] == {"id": "p0000", "served": "•••", "recomputed": "•••"}
    assert "secret" not in json.dumps(report).lower()
    assert run(*COMPARED, "--contract", "m.yaml") == 1
    assert "secret" not in capsys.readouterr().out.lower()


def test_another_window_and_a_lag_are_named_along_the_rows_of_an_entity(skew: Compare) -> None:
    values = TRAIN["temp"].to_numpy()

    def with_mean(rows: int) -> pa.Table:
        means = [values[max(0, i - rows + 1) : i + 1].mean() for i in range(N)]
        return TRAIN.append_column("shop", [["one"] * N]).append_column("recent", [means])

    write_table("train.parquet", with_mean(20))
    words = ("--by", "shop", "--time", "booked_at", "--underlying", "recent=temp")
    code, report = skew(with_mean(5), *words)
    assert (code, report["by"]["recent"]["kinds"]) == (1, ["other window length"])
    (named,) = report["by"]["recent"]["explanations"]
    means = "served is the mean over the last 5 rows, recomputed is the mean over the last 20"
    assert named["detail"].startswith(means)
    served = with_mean(20)
    late = served.set_column(served.column_names.index("temp"), "temp", [np.concatenate((values[:1], values[:-1]))])
    assert skew(late, *words[:4])[1]["by"]["temp"]["kinds"] == ["lag in time"]


def test_sides_that_cannot_be_compared_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    temps = changed("temp", np.arange(N) + 0.123)
    for served, words, message in (
        (temps, ("--on", "nope"), "has no column 'nope' to join on"),
        (temps, ("--on", "temp", "--field", "zip"), "No temp of s.parquet is in train.parquet"),
        (temps, ("--by", "zip"), "--by and --time belong together"),
        (temps, ("--by", "zap", "--time", "booked_at"), "has no column 'zap'; correct --by"),
        (temps, ("--underlying", "temp"), "write FIELD=COLUMN"),
        (temps, ("--field", "nope"), "No field is named 'nope'"),
        (temps, ("--from", "2026-03-01", "--to", "2026-03-02"), "are for clickhouse:MODEL"),
        (temps, ("--served", "clickhouse:m@3"), "needs --from and --to"),
        (changed("id", [f"q{i}" for i in range(N)]), (), "their first values are 'q0' and 'p0000'"),
        (pa.table({"id": TRAIN["id"], "other": np.arange(N)}), (), "have no field in common"),
    ):
        write_table("s.parquet", served)
        assert run(*COMPARED, *words) == 2, words
        output = capsys.readouterr()
        assert message in output.err
        assert output.out == ""
