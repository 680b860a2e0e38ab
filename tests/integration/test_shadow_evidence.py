"""Evidence bundles on real ClickHouse: equal after restarts and later rows, and every change is found."""

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.rollouts.evidence import recount
from barograph_server.rollouts.evidence.bundle import read_bundle, write_bundle
from barograph_server.streams.scorer.worker import Scorer
from barograph_server.warehouse.client import Address, Client
from barograph_server.warehouse.rollouts import as_of
from barograph_server.warehouse.rollouts.days import read_totals
from barograph_server.warehouse.tables import insert_rows
from tests.integration.test_scorer_pairs import raw_rows
from tests.reference.shadow_pairs import BINARY
from tests.support import scoring
from tests.support.command_line import run
from tests.support.environment import write_settings
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS
from tests.support.warehouse import insert, snapshot

Rows = list[dict[str, Any]]
DAYS = 3
LATER = 10**7
"""Added to the offsets of rows that arrive after the export."""


@dataclass
class Evidence:
    """A database with three days of pairs, its exported bundle, and the command line."""

    client: Client
    address: Address
    config: str
    path: Path
    rows: dict[str, Rows]
    restore: Callable[[], None]
    """Makes the database what it was at the export."""

    def score(self, contract: Contract = BINARY) -> None:
        """Run a scorer that has just started until it has counted everything and stored its checkpoint."""
        now_s = (START_MS + 9 * DAY_MS) / 1000
        worker: Scorer = scoring.scorer(self.client, self.address, contract, clock=lambda: now_s)
        for _ in range(2):
            worker.score_once()

    def call(self, code: int, *words: object) -> str:
        """Run `barograph shadow`, which must exit with this code; return its output, and its errors on one line."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            ended = run("shadow", *words, "--config", self.config)
        assert ended == code, (out.getvalue(), err.getvalue())
        return out.getvalue() + " ".join(err.getvalue().split())

    def verified(self, code: int, path: Path | None = None) -> str:
        return self.call(code, "verify", path or self.path)

    def recounted(self) -> int:
        """Verify that the exported bundle is equal; return the number of windows that were recounted."""
        report = json.loads(self.call(0, "verify", self.path, "--format", "json"))
        assert report["is_equal"]
        return int(report["recounted_windows"])

    def export(self, code: int, path: Path) -> str:
        return self.call(code, "export", "--model", "m", "--out", path)


@pytest.fixture(scope="module")
def exported(
    migrated_client: Client, engine: LocalClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Evidence]:
    client, address, folder = migrated_client, engine.address(migrated_client.database), tmp_path_factory.mktemp("m")
    config = write_settings(folder / "barograph.toml", address)
    rows = fill(client)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", address.password)
        result = Evidence(client, address, config, folder / "evidence.zip", rows, lambda: None)
        result.score()
        assert "digest " in result.export(0, result.path)
        with snapshot(client) as restore:
            result.restore = restore
            yield result


@pytest.fixture
def evidence(exported: Evidence) -> Evidence:
    exported.restore()
    return exported


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
    insert(client, **all_rows)
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


@pytest.mark.long
def test_a_bundle_is_equal_after_restarts_later_rows_and_a_recount(evidence: Evidence, tmp_path: Path) -> None:
    client, path = evidence.client, evidence.path
    assert evidence.recounted() == 0
    # Rows that arrive later change pairs of the exported days, and the next export.
    before = pairs(client)
    insert(client, **later_rows(evidence.rows))
    evidence.score()
    assert pairs(client) != before
    assert evidence.recounted() > 0
    other = tmp_path / "other"
    evidence.export(0, other)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("days.json") != (other / "days.json").read_bytes()
    evidence.verified(0, other)
    # A scorer that counts everything again, from the first row.
    for table in (
        *("shadow_pairs", "performance_state", "performance", "hour_labels", "prediction_hours"),
        *("scorer_checkpoints", "duplicate_predictions", "pending_labels", "maturity"),
    ):
        client.command(f"TRUNCATE TABLE {table}")
    evidence.score()
    evidence.recounted()
    evidence.verified(0, other)


def test_the_same_rows_give_the_same_bytes(evidence: Evidence, tmp_path: Path) -> None:
    client, path = evidence.client, evidence.path
    # A day that is not over, and other models, change nothing.
    rows = shifted(raw_rows(random.Random(13), 50), DAYS - 1)
    more = [each for each in rows["predictions"] if each["at"] > START_MS + (DAYS - 1) * DAY_MS + 9 * HOUR_MS]
    insert_rows(
        client, "predictions", [{**each, "id": f"x{each['id']}", "offset": LATER + i} for i, each in enumerate(more)]
    )
    evidence.score()
    again = tmp_path / "again.zip"
    evidence.export(0, again)
    assert again.read_bytes() == path.read_bytes()
    days = json.loads(zipfile.ZipFile(path).read("days.json"))
    ((dates,),) = client.rows("SELECT groupUniqArray(toString(toDate(window_start))) FROM shadow_pairs")
    assert days[0]["days"] == sorted(dates)[:-1]
    assert "again.zip exists" in evidence.export(1, again)
    client.command("TRUNCATE TABLE scorer_checkpoints")
    assert "checkpoint has not passed the first rows" in evidence.export(1, tmp_path / "early.zip")
    assert not (tmp_path / "early.zip").exists()


def test_a_change_in_the_warehouse_is_named_and_deleted_rows_prevent_a_verdict(evidence: Evidence) -> None:
    client = evidence.client
    changed = "slice = 'country=de' AND candidate = '4' AND requests > 0"
    ((day,),) = client.rows(f"SELECT toString(toDate(min(window_start))) FROM shadow_pairs FINAL WHERE {changed}")
    client.command(
        "INSERT INTO shadow_pairs SELECT * REPLACE (agreed + 1 AS agreed, records + 1 AS records) "
        f"FROM shadow_pairs FINAL WHERE {changed} ORDER BY window_start LIMIT 1"
    )
    out = evidence.verified(1)
    assert f"differs: days.json: slice country=de, {day}, sums.agreed: bundle " in out
    assert out.count("differs:") == 1
    for table in ("predictions", "shadow_predictions"):
        evidence.restore()
        client.command(f"TRUNCATE TABLE {table}")
        evidence.verified(0)
        evidence.restore()
        insert_rows(client, "labels", later_rows(evidence.rows)["labels"])
        evidence.score()
        client.command(f"TRUNCATE TABLE {table}")
        assert "cannot be verified: days.json: rows of " in evidence.verified(2)
    client.command("TRUNCATE TABLE predictions")
    client.command("TRUNCATE TABLE shadow_pairs")
    evidence.verified(2)


@pytest.mark.long
def test_a_bundle_is_equal_while_the_scorer_goes_on(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    later = later_rows(evidence.rows)

    def count_then_read(*arguments: Any) -> Any:
        for table in list(later):
            insert_rows(evidence.client, table, later.pop(table))
            evidence.score()
        return read_totals(*arguments)

    monkeypatch.setattr(recount, "read_totals", count_then_read)
    assert evidence.recounted() > 0
    assert later == {}
    numbers = count(1)
    monkeypatch.setattr(as_of, "changed_windows", lambda *_: [3600 * i for i in range(next(numbers))])
    out = evidence.verified(2)
    assert "The scorer changed pairs of m during each of 5 reads: try again" in " ".join(out.split())


def test_a_bundle_edited_by_hand_with_new_digests_is_found(evidence: Evidence, tmp_path: Path) -> None:
    bundle = read_bundle(evidence.path)
    edited = tmp_path / "edited.zip"

    def verified(code: int, **parts: Any) -> str:
        edited.unlink(missing_ok=True)
        contents = {f"{name}.json": msgspec.json.encode(value) for name, value in parts.items()}
        write_bundle(edited, {**bundle.parts, **contents})
        return evidence.verified(code, edited)

    decision = json.loads(bundle.parts["decision.json"]) | {"outcome": "promote"}
    out = verified(1, decision=decision)
    assert "differs: decision.json: outcome: bundle 'promote', warehouse 'insufficient'" in out
    assert "it is another bundle, or was changed" in evidence.call(1, "verify", edited, "--digest", bundle.digest)
    days = json.loads(bundle.parts["days.json"])
    days[0]["sums"]["agreed"].append(1.0)
    assert "differs: days.json: slice all, , sums.agreed: bundle 1.0, warehouse None" in verified(1, days=days)
    provenance = json.loads(bundle.parts["provenance.json"])
    other = {"version": "3", "baseline_id": "b9", "effective_from": "2026-01-01T00:00:00+00:00"}
    out = verified(1, provenance={**provenance, "baselines": [*provenance["baselines"], other]})
    assert "the baseline b9 of version 3 from 2026-01-01T00:00:00+00:00 is not in the warehouse" in out
    out = verified(0, provenance={**provenance, "code": {"release": "0.0.1"}})
    assert out.splitlines()[-1] == "equal to the bit"
    out = verified(2, provenance={**provenance, "decision_rules": 1})
    assert "cannot be verified: decision.json: the decision rules 1 made it" in out


def test_status_and_report(evidence: Evidence, tmp_path: Path) -> None:
    out = evidence.call(0, "status", "--model", "m")
    for text in ("m: version 4 beside version 3", "3 over, 3 of them with mature labels", "too few days: 2 of 29"):
        assert text in out
    page = tmp_path / "page.html"
    evidence.call(0, "report", "--model", "m", "--out", page)
    assert "<h2>Latency by hour of the day</h2>" in page.read_text()
