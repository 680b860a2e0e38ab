"""Evidence bundles on real ClickHouse: equal after restarts and later rows, and every change is found."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, Slo

from cli.main import main
from cli.shadow import recount
from local.clickhouse import LocalClickHouse
from streams.scorer.worker import Scorer
from tests.integration.test_scorer_pairs import raw_rows
from tests.reference.shadow_pairs import BINARY
from tests.support import scoring
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS
from tests.support.warehouse import snapshot
from warehouse.client import Client
from warehouse.shadow import as_of
from warehouse.shadow.days import read_totals

pytestmark = pytest.mark.engine

Rows = list[dict[str, Any]]

DAYS = 3
LATER = 10**7
"""Added to the offsets of rows that arrive after the export."""


@pytest.fixture
def score(client: Client, engine: LocalClickHouse) -> Callable[..., None]:
    """Run a scorer that has just started until it has counted everything and stored its checkpoint."""
    address = engine.address(client.database)

    def run(contract: Contract = BINARY) -> None:
        worker: Scorer = scoring.scorer(client, address, contract, clock=lambda: (START_MS + 9 * DAY_MS) / 1000)
        for _ in range(2):
            worker.score_once()

    return run


@pytest.fixture
def call(config: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["shadow", *words, "--config", config])
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, " ".join(printed.err.split())

    return run


def shifted(rows: dict[str, Rows], day: int) -> dict[str, Rows]:
    """Move rows to another day, with ids and offsets of their own."""
    for own in rows.values():
        for each in own:
            each["id"] = f"d{day}-{each['id']}"
            each["offset"] += day * 10**5
            for name in ("at", "received_at"):
                each[name] += day * DAY_MS
    return rows


def fill(client: Client, n: int = 200) -> dict[str, Rows]:
    """Insert requests of some days; of the last one only its first hours."""
    scoring.register(client, BINARY)
    rng = random.Random(11)
    all_rows: dict[str, Rows] = {"predictions": [], "shadow_predictions": [], "labels": []}
    for day in range(DAYS):
        for table, own in shifted(raw_rows(rng, n), day).items():
            limit_ms = START_MS + (DAYS - 1) * DAY_MS + 9 * HOUR_MS
            all_rows[table] += [each for each in own if table == "labels" or each["at"] < limit_ms]
    for table, own in all_rows.items():
        scoring.insert(client, table, own)
    return all_rows


def later_rows(rows: dict[str, Rows]) -> dict[str, Rows]:
    """Repeat some rows as if they arrived late: corrected labels, predictions and shadows at other times."""
    rng = random.Random(12)
    result: dict[str, Rows] = {}
    for table, own in rows.items():
        result[table] = []
        for each in rng.sample(own, len(own) // 10):
            moved = {**each, "offset": each["offset"] + LATER, "received_at": each["received_at"] + DAY_MS}
            if table == "labels":
                moved |= {"label": rng.choice(["true", "false"]), "at": each["at"] + 1}
            else:
                moved |= {"at": each["at"] - rng.randrange(3 * HOUR_MS), "score": rng.random()}
            result[table].append(moved)
    return result


def pairs(client: Client) -> list[Any]:
    return client.rows("SELECT * EXCEPT (counted_at, records) FROM shadow_pairs FINAL WHERE requests > 0 ORDER BY ALL")


@pytest.fixture
def exported(
    client: Client, score: Callable[..., None], call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> tuple[Path, dict[str, Rows]]:
    rows = fill(client)
    score()
    path = tmp_path / "evidence.zip"
    code, out, err = call("export", "--model", "m", "--out", str(path))
    assert (code, err) == (0, ""), out
    assert "digest " in out
    return path, rows


@pytest.mark.long
def test_a_bundle_is_equal_after_restarts_later_rows_and_a_recount(
    client: Client,
    score: Callable[..., None],
    call: Callable[..., tuple[int, str, str]],
    exported: tuple[Path, dict[str, Rows]],
    tmp_path: Path,
) -> None:
    path, rows = exported
    code, out, _ = call("verify", str(path), "--json")
    report = json.loads(out)
    assert (code, report["is_equal"], report["recounted_windows"]) == (0, True, 0), report

    # Rows that arrive later change pairs of the exported days, and the next export.
    before = pairs(client)
    for table, own in later_rows(rows).items():
        scoring.insert(client, table, own)
    score()
    assert pairs(client) != before
    code, out, _ = call("verify", str(path), "--json")
    report = json.loads(out)
    assert (code, report["is_equal"]) == (0, True), report
    assert report["recounted_windows"] > 0
    other = tmp_path / "other"
    assert call("export", "--model", "m", "--out", str(other))[0] == 0
    with zipfile.ZipFile(path) as archive:
        assert archive.read("days.json") != (other / "days.json").read_bytes()
    assert call("verify", str(other))[0] == 0

    # A scorer that counts everything again, from the first row.
    for table in ("shadow_pairs", "performance_state", "performance", "hour_labels", "prediction_hours"):
        client.command(f"TRUNCATE TABLE {table}")
    for table in ("scorer_checkpoints", "duplicate_predictions", "pending_labels", "maturity"):
        client.command(f"TRUNCATE TABLE {table}")
    score()
    code, out, _ = call("verify", str(path), "--json")
    assert (code, json.loads(out)["is_equal"]) == (0, True), out
    assert call("verify", str(other))[0] == 0


def test_the_same_rows_give_the_same_bytes(
    client: Client,
    score: Callable[..., None],
    call: Callable[..., tuple[int, str, str]],
    exported: tuple[Path, dict[str, Rows]],
    tmp_path: Path,
) -> None:
    path, _ = exported
    # A day that is not over, and other models, change nothing.
    rows = shifted(raw_rows(random.Random(13), 50), DAYS - 1)
    more = [each for each in rows["predictions"] if each["at"] > START_MS + (DAYS - 1) * DAY_MS + 9 * HOUR_MS]
    scoring.insert(
        client, "predictions", [{**each, "id": f"x{each['id']}", "offset": LATER + i} for i, each in enumerate(more)]
    )
    score()
    again = tmp_path / "again.zip"
    assert call("export", "--model", "m", "--out", str(again))[0] == 0
    assert again.read_bytes() == path.read_bytes()
    days = json.loads(zipfile.ZipFile(path).read("days.json"))
    ((dates,),) = client.rows("SELECT groupUniqArray(toString(toDate(window_start))) FROM shadow_pairs")
    assert days[0]["days"] == sorted(dates)[:-1]
    code, _, err = call("export", "--model", "m", "--out", str(again))
    assert code == 1
    assert "again.zip exists" in err


def test_a_change_in_the_warehouse_is_named(
    client: Client, call: Callable[..., tuple[int, str, str]], exported: tuple[Path, dict[str, Rows]]
) -> None:
    path, _ = exported
    client.command(
        "INSERT INTO shadow_pairs SELECT * REPLACE (agreed + 1 AS agreed, records + 1 AS records) "
        "FROM shadow_pairs FINAL WHERE slice = 'country=de' AND candidate = '4' AND requests > 0 "
        "ORDER BY window_start LIMIT 1"
    )
    code, out, _ = call("verify", str(path))
    assert code == 1
    ((day,),) = client.rows(
        "SELECT toString(toDate(min(window_start))) FROM shadow_pairs FINAL "
        "WHERE slice = 'country=de' AND candidate = '4' AND requests > 0"
    )
    assert f"differs: days.json: slice country=de, {day}, sums.agreed: bundle " in out
    assert out.count("differs:") == 1


@pytest.mark.parametrize("table", ["predictions", "shadow_predictions"])
def test_a_bundle_whose_rows_are_deleted_cannot_be_verified(
    client: Client,
    score: Callable[..., None],
    call: Callable[..., tuple[int, str, str]],
    exported: tuple[Path, dict[str, Rows]],
    table: str,
) -> None:
    path, rows = exported
    with snapshot(client) as restore:
        client.command(f"TRUNCATE TABLE {table}")
        assert call("verify", str(path))[0] == 0
        restore()
    scoring.insert(client, "labels", later_rows(rows)["labels"])
    score()
    client.command(f"TRUNCATE TABLE {table}")
    code, out, _ = call("verify", str(path))
    assert code == 2, out
    assert "cannot be verified: days.json: rows of " in out
    for each in ("predictions", "shadow_pairs"):
        client.command(f"TRUNCATE TABLE {each}")
    assert call("verify", str(path))[0] == 2


@pytest.mark.long
def test_a_bundle_is_equal_after_the_settings_of_pairs_changed(
    client: Client,
    score: Callable[..., None],
    call: Callable[..., tuple[int, str, str]],
    exported: tuple[Path, dict[str, Rows]],
) -> None:
    path, _ = exported
    changed = msgspec.structs.replace(BINARY, slo=Slo(latency_ms=2.0))
    scoring.register(client, changed, applied_at=2)
    score(changed)
    ((limits,),) = client.rows("SELECT groupUniqArray(slow_ms) FROM shadow_pairs FINAL WHERE candidate = '4'")
    assert limits == [2.0]
    code, out, _ = call("verify", str(path), "--json")
    report = json.loads(out)
    assert (code, report["is_equal"]) == (0, True), report
    assert report["recounted_windows"] > 0
    client.command("TRUNCATE TABLE predictions")
    code, out, _ = call("verify", str(path))
    assert code == 2, out
    assert "cannot be verified: days.json: " in out


@pytest.mark.long
def test_a_bundle_is_equal_while_the_scorer_counts_later_rows(
    client: Client,
    score: Callable[..., None],
    call: Callable[..., tuple[int, str, str]],
    exported: tuple[Path, dict[str, Rows]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, rows = exported
    later = later_rows(rows)

    def count_then_read(*arguments: Any) -> Any:
        for table in list(later):
            scoring.insert(client, table, later.pop(table))
            score()
        return read_totals(*arguments)

    monkeypatch.setattr(recount, "read_totals", count_then_read)
    code, out, _ = call("verify", str(path), "--json")
    report = json.loads(out)
    assert (code, report["is_equal"], later) == (0, True, {}), report
    assert report["recounted_windows"] > 0

    numbers = count(1)
    monkeypatch.setattr(as_of, "changed_windows", lambda *_: [3600 * i for i in range(next(numbers))])
    code, out, _ = call("verify", str(path))
    assert code == 2, out
    assert "The scorer changed pairs of m during each of 5 reads: try again" in " ".join(out.split())


@pytest.mark.long
def test_an_earlier_event_of_the_candidate_changes_no_bundle(
    client: Client,
    score: Callable[..., None],
    call: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    rows = fill(client)
    morning_ms = START_MS + 6 * HOUR_MS
    client.command(f"DELETE FROM shadow_predictions WHERE at < fromUnixTimestamp64Milli({morning_ms})")
    score()
    path, other = tmp_path / "evidence.zip", tmp_path / "other.zip"
    assert call("export", "--model", "m", "--out", str(path))[0] == 0
    event = next(each for each in rows["shadow_predictions"] if each["at"] < morning_ms and each["version"] == "4")
    scoring.insert(client, "shadow_predictions", [{**event, "offset": LATER}])
    score()
    assert call("verify", str(path))[0] == 0
    assert call("export", "--model", "m", "--out", str(other))[0] == 0
    first, second = (json.loads(zipfile.ZipFile(each).read("provenance.json"))["since"] for each in (path, other))
    assert (first, second) == (morning_ms // 1000, event["at"] // HOUR_MS * 3600)
    assert call("verify", str(other))[0] == 0


def test_one_altered_byte_in_any_part_is_found(
    call: Callable[..., tuple[int, str, str]], exported: tuple[Path, dict[str, Rows]], tmp_path: Path
) -> None:
    path, _ = exported
    names = zipfile.ZipFile(path).namelist()
    assert len(names) == 6
    for name in names:
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        zipfile.ZipFile(path).extractall(folder)
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        code, _, err = call("verify", str(folder))
        assert code == 1, name
        assert "was changed" in err or "manifest" in err, name


def test_a_bundle_edited_by_hand_with_new_digests_is_found(
    client: Client, call: Callable[..., tuple[int, str, str]], exported: tuple[Path, dict[str, Rows]], tmp_path: Path
) -> None:
    from cli.shadow.bundle import read_bundle, write_bundle

    path, _ = exported
    bundle = read_bundle(path)
    decision = json.loads(bundle.parts["decision.json"]) | {"outcome": "promote"}
    edited = tmp_path / "edited.zip"
    write_bundle(edited, {**bundle.parts, "decision.json": msgspec.json.encode(decision)})
    code, out, _ = call("verify", str(edited))
    assert code == 1
    assert "differs: decision.json: outcome: bundle 'promote', warehouse 'insufficient'" in out
    code, _, err = call("verify", str(edited), "--digest", bundle.digest)
    assert code == 1
    assert "it is another bundle, or was changed" in err

    days = json.loads(bundle.parts["days.json"])
    days[0]["sums"]["agreed"].append(1.0)
    longer = tmp_path / "longer.zip"
    write_bundle(longer, {**bundle.parts, "days.json": msgspec.json.encode(days)})
    code, out, _ = call("verify", str(longer))
    assert code == 1
    assert "differs: days.json: slice all, , sums.agreed: bundle 1.0, warehouse None" in out

    provenance = json.loads(bundle.parts["provenance.json"])
    other = {"version": "3", "baseline_id": "b9", "effective_from": "2026-01-01T00:00:00+00:00"}
    changed = msgspec.json.encode({**provenance, "baselines": [*provenance["baselines"], other]})
    write_bundle(tmp_path / "baselines.zip", {**bundle.parts, "provenance.json": changed})
    code, out, _ = call("verify", str(tmp_path / "baselines.zip"))
    assert code == 1
    assert "the baseline b9 of version 3 from 2026-01-01T00:00:00+00:00 is not in the warehouse" in out

    other_code = msgspec.json.encode({**provenance, "code": {"release": "0.0.1"}})
    parts = {**bundle.parts, "provenance.json": other_code, "report.html": b"edited"}
    write_bundle(tmp_path / "report.zip", parts)
    code, out, _ = call("verify", str(tmp_path / "report.zip"))
    assert code == 0
    assert out.splitlines()[-1] == "equal to the bit, except report.html, which other code or libraries wrote"


def test_status_and_report(
    call: Callable[..., tuple[int, str, str]], exported: tuple[Path, dict[str, Rows]], tmp_path: Path
) -> None:
    code, out, _ = call("status", "--model", "m")
    assert code == 0
    assert "m: version 4 beside version 3" in out
    assert "3 over, 3 of them with mature labels" in out, out
    assert "too few days: 2 of 29" in out
    code, out, _ = call("status", "--model", "m", "--json")
    status = json.loads(out)
    assert status["days"] == 4
    assert status["latency_by_hour"]
    assert status["cost_per_day"]["requests"] > 0
    assert set(status["errors"]) == {"primary", "candidate"}
    page = tmp_path / "page.html"
    assert call("report", "--model", "m", "--out", str(page))[0] == 0
    text = page.read_text()
    assert "version 4 beside version 3" in text
    assert "http" not in text
    for title in ("Errors", "Latency by hour of the day", "Cost", "Agreement"):
        assert f"<h2>{title}</h2>" in text


def test_an_export_before_the_first_checkpoint_says_when_to_try_again(
    client: Client, score: Callable[..., None], call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    fill(client)
    score()
    client.command("TRUNCATE TABLE scorer_checkpoints")
    code, _, errors = call("export", "--model", BINARY.model, "--out", str(tmp_path / "evidence.zip"))
    assert code == 1
    assert "checkpoint has not passed the first rows" in errors
    assert not (tmp_path / "evidence.zip").exists()
