"""`barograph distribution` over panes that real processors counted, against raw values and the monitor's verdicts."""

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from barograph.contract import Slice

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.terminal import utc_second
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import rollups
from barograph_server.warehouse.tables import insert_rows
from tests.support import command_line, scoring
from tests.support.environment import enter_folder
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.toy_events import START_S, messages, toy_events
from tests.support.warehouse import row

PANE_S = 600
HOURS = 40
N = 12_000
END_S = START_S + HOURS * 3600


REGION = Slice(name="region", source="context.region", sketches=("x",))
CONTRACT = simple_contract(pane_s=PANE_S, slices=(REGION,))


def events() -> list[dict[str, Any]]:
    built = toy_events(N, HOURS)
    for i, event in enumerate(built):
        if i % 100 == 7:
            event["features"]["x"] = "broken"
        if i % 5 == 3:
            event["features"]["colour"] = None
    return built


class Raw:
    """The values of one field in [start, end) of event time, and of one region."""

    def __init__(self, built: list[dict[str, Any]], start_s: float, end_s: float, region: str = "") -> None:
        inside = [e for e in built if start_s * 1000 <= e["at"] < end_s * 1000]
        self.events = [e for e in inside if not region or e["context"]["region"] == region]
        x = [e["features"]["x"] for e in self.events]
        self.values = np.array([v for v in x if isinstance(v, float)])
        self.nulls = x.count(None)
        self.invalid = x.count("broken")
        self.n = len(self.values) + self.nulls
        self.colours = Counter(e["features"]["colour"] for e in self.events)


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def called(*words: str, field: str = "x", start_s: float = START_S, end_s: float = END_S) -> tuple[int, str, str]:
        where = ("--model", "toy", "--field", field, "--from", utc_second(start_s), "--to", utc_second(end_s))
        return command_line.call(capsys, "distribution", *where, *words)

    return called


Run = Callable[..., tuple[int, str, str]]


@pytest.mark.long
def test_any_window_equals_events(
    pipeline: Pipeline, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pipeline for all: filling it costs more than asking."""
    built = events()
    fill(pipeline, built)
    enter_folder(tmp_path, monkeypatch, pipeline.address)

    def ask(*words: str, **where: Any) -> dict[str, Any]:
        code, out, err = run("--format", "json", *words, **where)
        assert code == 0, err
        result: dict[str, Any] = json.loads(out)
        return result

    whole_range_equals_the_source(ask, built)
    ends_within_panes_are_noted(ask, built)
    bins_of_any_kind_are_within_the_sketchs_error(ask, built)
    categories_are_exact_and_unseen_ones_named(ask, built)
    slices_are_separate(ask, built)
    unknown_names_are_rejected(run)
    damaged_sketches_are_not_opened(pipeline, ask, built)


def fill(pipeline: Pipeline, built: list[dict[str, Any]]) -> None:
    pipeline.prepare(CONTRACT)
    pipeline.produce(messages(built))
    pipeline.end(1)
    pipeline.start_all("sketcher", "monitor")
    pipeline.wait_judged(N)
    rolled = f"countIf(pane_s = 3600) = {HOURS} AND countIf(pane_s = 86400) > 0"
    pipeline.wait_rows(f"SELECT {rolled} FROM rollups FINAL WHERE field = 'x' AND slice = 'all'", "hours and a day")


def check_counts(result: dict[str, Any], raw: Raw) -> None:
    counts = result["counts"]
    assert (result["n"], counts["nulls"], counts["invalid"]) == (raw.n, raw.nulls, raw.invalid)
    assert result["mean"] == pytest.approx(raw.values.mean(), rel=1e-6)
    assert result["stddev"] == pytest.approx(raw.values.std(ddof=1), rel=1e-6)
    assert (result["minimum"], result["maximum"]) == pytest.approx((raw.values.min(), raw.values.max()), rel=1e-6)


def check_quantiles(result: dict[str, Any], raw: Raw) -> None:
    ordered = np.sort(raw.values)
    assert result["in_sketch"] == len(ordered)
    for each in result["quantiles"]:
        rank = np.searchsorted(ordered, each["value"] + 1e-6, side="right") / len(ordered)
        assert abs(rank - each["rank"]) <= 2 * result["rank_error"] + 2 / len(ordered), each
        assert each["low"] <= each["value"] <= each["high"]


def whole_range_equals_the_source(ask: Ask, built: list[dict[str, Any]]) -> None:
    result, raw = ask(), Raw(built, START_S, END_S)
    check_counts(result, raw)
    check_quantiles(result, raw)
    assert [each["rank"] for each in result["quantiles"]] == [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
    assert result["quantiles"][3]["training"] == pytest.approx(0.0, abs=0.05)
    hours_until_midnight = 24 - START_S % 86400 // 3600
    assert result["panes"] == hours_until_midnight + 1 + (HOURS - hours_until_midnight) % 24, "a day and hours"
    x = simple_baseline().fields[0]
    cells = np.bincount(np.searchsorted(x.edges, raw.values, side="right"), minlength=len(x.edges) + 1)
    assert [each["n"] for each in result["shares"]] == [*cells.tolist(), raw.nulls]
    assert [each["share"] for each in result["shares"]] == pytest.approx([*(cells / raw.n), raw.nulls / raw.n])
    trained = np.array(x.slices["all"].cells)
    assert [each["training"] for each in result["shares"]] == pytest.approx((trained / trained.sum()).tolist())
    assert (result["are_exact"], result["notes"]) == (True, [])
    assert result["shares"][-1]["label"] == "null"


def ends_within_panes_are_noted(ask: Ask, built: list[dict[str, Any]]) -> None:
    # 05:25 to 09:37: panes of ten minutes before and after whole hours, each event once.
    start_s, end_s = START_S + 5 * 3600 + 1500, START_S + 9 * 3600 + 2220
    result = ask(start_s=start_s, end_s=end_s)
    check_counts(result, Raw(built, start_s - 300, end_s + 180))
    assert result["panes"] == 4 + 3 + 4
    assert result["notes"] == [
        "the first pane starts 300 s before the range and is included whole",
        "the last pane ends 180 s after the range and is included whole",
    ]
    check_quantiles(result, Raw(built, start_s - 300, end_s + 180))
    result = ask(start_s=START_S + 60, end_s=START_S + 61)
    assert (result["panes"], result["n"]) == (1, Raw(built, START_S, START_S + PANE_S).n)


def bins_of_any_kind_are_within_the_sketchs_error(ask: Ask, built: list[dict[str, Any]]) -> None:
    raw = Raw(built, START_S, END_S)
    result, seven = ask("--edges", "-1,0,0.5,2"), ask("--bins", "7")
    for each in (result, seven):
        assert not each["are_exact"]
        assert sum(share["n"] for share in each["shares"]) == len(raw.values)
        assert sum(share["training"] for share in each["shares"]) == pytest.approx(1.0)
    assert [each["label"] for each in result["shares"]] == ["< -1", "[-1, 0)", "[0, 0.5)", "[0.5, 2)", "≥ 2"]
    exact = np.histogram(raw.values, [-np.inf, -1, 0, 0.5, 2, np.inf])[0] / len(raw.values)
    for each, share in zip(result["shares"], exact, strict=True):
        assert abs(each["share"] - share) <= 2.5 * result["rank_error"]
    normal = [0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in (-1, 0, 0.5, 2)]
    expected = np.diff([0.0, *normal, 1.0])
    assert [each["training"] for each in result["shares"]] == pytest.approx(expected.tolist(), abs=0.02)
    labels, again = ([each["label"] for each in result["shares"]] for result in (seven, ask("--bins", "7")))
    assert (len(labels), again) == (7, labels)
    result = ask("--quantiles", "0,0.9,1")
    assert [each["rank"] for each in result["quantiles"]] == [0.0, 0.9, 1.0]
    assert result["quantiles"][0]["value"] == pytest.approx(raw.values.min(), rel=1e-6)
    assert result["quantiles"][2]["value"] == pytest.approx(raw.values.max(), rel=1e-6)


def categories_are_exact_and_unseen_ones_named(ask: Ask, built: list[dict[str, Any]]) -> None:
    result, raw = ask(field="colour"), Raw(built, START_S, END_S)
    pink = raw.colours["pink"]
    counts = {each["label"]: each["n"] for each in result["shares"]}
    trained = {name: raw.colours[name] for name in ("red", "green", "blue")}
    assert counts == {**trained, "unseen": pink, "null": raw.colours[None]}
    retained = [each["n"] for each in result["shares"][:3]]
    assert retained == sorted(retained, reverse=True)
    assert [(each["value"], each["lower"], each["upper"]) for each in result["named_unseen"]] == [("pink", pink, pink)]
    assert (result["quantiles"], result["rank_error"], result["mean"]) == ([], None, None)
    flags = ask(field="flag")
    true = sum(e["features"]["flag"] for e in built)
    assert [each["n"] for each in flags["shares"]] == [N - true, true, 0]


def slices_are_separate(ask: Ask, built: list[dict[str, Any]]) -> None:
    raw = Raw(built, START_S, END_S, "north")
    result = ask("--slice", "region=north")
    check_counts(result, raw)
    check_quantiles(result, raw)
    without = ask("--slice", "region=north", field="k")
    assert without["n"] == len(raw.events)
    assert (without["quantiles"], without["mean"]) == ([], None)
    assert "the slice region=north has no sketch" in without["notes"][0]


def unknown_names_are_rejected(run: Run) -> None:
    for words, where, message in (
        (("--model", "toyy"), {}, "has no contract of 'toyy'; did you mean 'toy'?"),
        (("--slice", "region=east"), {}, "toy has no slice 'region=east'"),
        (("--bins", "5"), {"field": "colour"}, "colour is a category"),
        (("--bins", "5", "--edges", "1"), {}, "give one of them"),
        ((), {"end_s": START_S}, "is not before --to"),
    ):
        code, out, err = run(*words, **where)
        assert (code, out) == (1, ""), words
        assert message in err, words


def damaged_sketches_are_not_opened(pipeline: Pipeline, ask: Ask, built: list[dict[str, Any]]) -> None:
    start_s = START_S + 2 * 3600
    with pipeline.client as client:
        rows = rollups(client, "toy", start_s, start_s + 3600).to_pylist()
        (stored,) = [each for each in rows if (each["field"], each["slice"]) == ("x", "all")]
        damaged = {"sketch": b"BS" + bytes(40), "record_seq": stored["record_seq"] + 1}
        insert_rows(client, "rollups", [stored | damaged])
    result, raw = ask(), Raw(built, START_S, END_S)
    hour = Raw(built, start_s, start_s + 3600)
    assert result["n"] == raw.n, "counts do not need it"
    assert result["notes"] == [
        "panes with a damaged sketch, which was skipped: 1",
        f"the sketch has {len(raw.values) - len(hour.values):,} of {len(raw.values):,} values: the other panes have no "
        "readable sketch",
    ]


def test_several_versions_or_baselines_are_not_mixed(
    client: Client, engine: LocalClickHouse, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: str) -> str:
        code, _, err = run(*words, end_s=START_S + 7200)
        assert code == 1
        return err

    def volume(version: str, baseline_id: str, start_s: int) -> dict[str, Any]:
        values = {"version": version, "baseline_id": baseline_id, "pane_start": start_s, "pane_s": 3600, "n": 5}
        return row("volume", model="toy", slice="all", **values)

    enter_folder(tmp_path, monkeypatch, engine.address(client.database))
    scoring.register(client, CONTRACT)
    assert "toy has no events yet" in refused()
    insert_rows(client, "volume", [volume("1", "a", START_S), volume("2", "b", START_S + 3600)])
    assert "several versions of toy: 1, 2. Choose one with --version" in refused()
    assert "The baseline b of the panes of toy is not applied" in refused("--version", "2")
    insert_rows(client, "volume", [volume("1", "c", START_S + 3600), volume("1", "d", START_S + 7200)])
    message = refused("--version", "1")
    assert f"several baselines of toy 1: a from {utc_second(START_S)[:16].replace(' ', 'T')}Z to " in message
    assert "; c from " in message
    assert "d from" not in message
