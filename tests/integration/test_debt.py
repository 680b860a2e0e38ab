"""`barograph debt` on the real engine: each rule reports on its day and not the day before, and a healthy set is empty.

The local engine keeps no query log. Rows with its columns, in a table of the test, are used instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from barograph.contract import Arms, Contract, DeclaredSource, LabelSpec, Rollback
from barograph.contract.file import dump_contract

from barograph_server.governance.debt import name_reads
from barograph_server.governance.debt.run_checks import run_checks
from barograph_server.governance.debt.scope import DebtReport
from barograph_server.settings import GrafanaSettings, Settings
from barograph_server.sketches.baseline.baseline import dump_baseline
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.query_log import last_reads
from barograph_server.warehouse.tables import insert_rows
from tests.support.command_line import call
from tests.support.pipeline import simple_baseline, simple_contract
from tests.support.warehouse import row

pytestmark = pytest.mark.engine
AT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
LOG = "recorded_queries"
Rows = dict[str, list[dict[str, Any]]]


def ago(days: float) -> datetime:
    return AT - timedelta(days=days)


def healthy(**changes: Any) -> tuple[Contract, Rows]:
    """A contract, and the rows of 40 days in which everything is used; `reads` are the newest queries by their text."""
    test = {
        "arms": Arms(shares={"p@1": 0.5, "p@2": 0.5}, unit="context.user"),
        "rollback": Rollback(prompt="p", margins={"errors": 0.02}),
        "label": LabelSpec(type="bool", positive=True, horizon_s=86_400),
    }
    contract = simple_contract(**{"owners": ("ana",), **test, **changes})
    body = dump_baseline(simple_baseline()).decode()
    known = {"model": "toy", "baseline_id": "b1", "pane_s": 86_400}
    rows: Rows = {name: [] for name in ("volume", "rollups", "predictions", "labels")}
    rows["contracts"] = [row("contracts", model="toy", yaml=dump_contract(contract), applied_at=ago(120))]
    rows["baselines"] = [
        row("baselines", model="toy", version=version, baseline_id="b1", body=body, accepted_at=ago(120))
        for version in ("0", "1")
    ]
    compared = {"model": "toy", "control": "p@1", "arm": "p@2", "criterion": "errors", "margin": 0.02, "low": -0.01}
    rows["arm_comparisons"] = [row("arm_comparisons", **compared, high=0.03, at=ago(days)) for days in (2, 0)]
    for day in range(40, 0, -1):
        for version, name in (("0", "all"), ("1", "all"), ("1", "region=north"), ("1", "region=south")):
            rows["volume"].append(row("volume", **known, version=version, slice=name, pane_start=ago(day), n=400))
        for field in contract.fields:
            limits = {} if field.type == "category" else {"minimum": 0.0, "maximum": 1.0}
            cells = {"version": "1", "field": field.name, "n": 400, "counts": [200, 200, 0, 0], "slice": "all"}
            rows["rollups"].append(row("rollups", **known, **cells, **limits, pane_start=ago(day)))
        for i in range(40):
            at = ago(day - 0.5)
            key = {"model": "toy", "id": f"{day}-{i}", "offset": len(rows["labels"]), "received_at": at, "at": at}
            numbers = [("x", float(i * i)), ("k", float(i % 5)), ("flag", float(i % 2))]
            values = {"numbers": numbers, "strings": [("colour", "rgb"[i % 3])], "context": [("user", f"{day}-{i}")]}
            of = {"version": "1", "arm": f"p@{i % 2 + 1}", "producer": f"producer {(i // 2 + day) % 2}"}
            rows["predictions"].append(row("predictions", **key, **values, **of))
            rows["labels"].append(row("labels", **key, label="true", label_type="bool"))
    texts = [f"'{field.name}'" for field in contract.fields] + ["'region=north'"]
    rows["reads"] = [{"text": text, "at": ago(2)} for text in texts] + [{"text": "1", "at": ago(120)}]
    return contract, rows


def store(client: Client, rows: Rows) -> None:
    for table, own in rows.items():
        if table != "reads":
            insert_rows(client, table, own)


@pytest.fixture
def report(client: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[DebtReport]]:
    """A function that stores rows, and runs all checks once for each clock."""
    monkeypatch.setattr(name_reads, "last_reads", partial(last_reads, log=LOG))
    client.command(
        f"CREATE TABLE IF NOT EXISTS {LOG} (type String, query_kind String, event_date Date, event_time DateTime, "
        "user String, query String, tables Array(String), is_initial_query UInt8) ENGINE = MergeTree ORDER BY user"
    )

    def run(
        contract: Contract, rows: Rows, *clocks: datetime, grafana: GrafanaSettings | None = None, **options: Any
    ) -> list[DebtReport]:
        store(client, rows)
        for each in rows["reads"]:
            client.command(
                f"INSERT INTO {LOG} SELECT 'QueryFinish', 'Select', toDate({{at:DateTime}}), {{at:DateTime}}, 'ana', "
                f"{{text:String}}, ['{client.database}.panes'], 1",
                each,
            )
        settings = Settings(bootstrap_servers="unused", grafana=grafana)
        return [run_checks(settings, client, [contract], at, samples_raw=True, **options) for at in clocks]

    return run


NULL = {"nulls": 400, "counts": [0, 0, 0, 400], "minimum": float("nan"), "maximum": float("nan")}
CASES: dict[tuple[str, str, int], tuple[str, Callable[[dict[str, Any]], bool], dict[str, Any]]] = {
    # Kind, subject and days of the rule: the rows that differ from the healthy set, and how; {} removes them.
    ("dead arm", "p@2", 14): ("predictions", lambda each: each["arm"] == "p@2" and each["at"] >= ago(14), {}),
    ("constant field", "k", 30): ("rollups", lambda each: each["field"] == "k", {"minimum": 3.0, "maximum": 3.0}),
    ("version without traffic", "0", 30): ("volume", lambda each: each["version"] == "0", {}),
    ("slice without readers", "region", 90): ("reads", lambda each: "region" in each["text"], {"at": ago(90)}),
    ("field without readers", "x", 90): ("reads", lambda each: each["text"] == "'x'", {"at": ago(90)}),
    ("constant field", "colour", 30): ("rollups", lambda each: each["field"] == "colour", {"counts": [400, 0, 0, 0]}),
    ("field without values", "x", 30): ("rollups", lambda each: each["field"] == "x", NULL),
    ("slice without events", "region=south", 30): ("volume", lambda each: each["slice"] == "region=south", {}),
    ("arm without labels", "p@2", 15): ("labels", lambda each: int(each["id"].split("-")[1]) % 2 == 1, {}),
    ("decided arm", "p@2", 0): ("arm_comparisons", lambda each: each["at"] == AT, {"high": 0.015}),
}


@pytest.mark.parametrize("case", CASES, ids="{0[0]} {0[1]}".format)
def test_each_rule_reports_on_its_day_and_not_the_day_before(
    report: Callable[..., list[DebtReport]], case: tuple[str, str, int]
) -> None:
    kind, subject, days = case
    table, differs, change = CASES[case]
    contract, rows = healthy(
        **({"arms": None, "rollback": None, "label": None} if "slice without readers" in kind else {})
    )
    since = ago(days)
    begin = since if table != "reads" else ago(89)
    stored, rows[table] = rows[table], []
    for each in stored:
        is_changed = differs(each) and (each["pane_start"] if "pane_start" in each else each["at"]) >= begin
        rows[table] += [{**each, **change}] * bool(change) if is_changed else [each]
    before, after = report(contract, rows, ago(1), AT)
    assert before.findings == ()
    (finding,) = after.findings
    assert (finding.kind, finding.model, finding.subject) == (kind, "toy", subject)
    # Since when labels are missing is not stored.
    assert (finding.since, finding.owner) == (None if kind == "arm without labels" else since, "ana")
    assert finding.stored_bytes is not None
    assert finding.stored_bytes > 0
    assert finding.rows_per_day is not None


def test_a_healthy_set_is_empty_and_everything_was_evaluated(report: Callable[..., list[DebtReport]]) -> None:
    contract, rows = healthy(declared_sources={"crm": DeclaredSource(owner="bo", fields=("x",))})
    (result,) = report(contract, rows, AT)
    assert result.findings == ()
    # Versions, arms, their labels and differences, slices, fields, readers, a source, its field, producers, pairs.
    assert result.evaluated == 2 + 2 + 2 + 1 + 2 + 4 + 4 + 1 + 1 + 2 + 3
    begins = [note.split(",")[0] for note in result.notes]
    assert begins == ["The user may not read system.role_grants", "No Grafana is set"]


def test_sources_producers_and_duplicates(report: Callable[..., list[DebtReport]]) -> None:
    sources = {"crm": DeclaredSource(owner="bo", fields=("x", "k")), "job": DeclaredSource(fields=("k",))}
    contract, rows = healthy(declared_sources=sources)
    for i, each in enumerate(rows["predictions"]):
        shifted = i % 7 + (5.0 if each["producer"] == "producer 1" else 0.0)
        each["numbers"] = [("x", shifted), ("k", 2.0 * shifted + 1.0), ("flag", float(i % 2))]
    (result,) = report(contract, rows, AT)
    assert [(each.kind, each.subject, each.owner) for each in result.findings] == [
        ("source without owner", "job", "ana"),
        ("field with several sources", "k", "bo"),
        ("producer that differs", "producer 0", "ana"),
        ("producer that differs", "producer 1", "ana"),
        ("feature computed twice", "x, k", "ana"),
    ]
    assert "x (PSI" in result.findings[3].message
    assert "flag" not in result.findings[3].message


def test_the_command_reports_findings_and_what_it_could_not_evaluate(
    client: Client, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, rows = healthy()
    for each in rows["rollups"]:
        each |= {"minimum": 3.0, "maximum": 3.0} if each["field"] == "k" and each["pane_start"] >= ago(30) else {}
    store(client, {**rows, "predictions": []})
    outputs = []
    for words in (
        ["--at", f"{AT:%Y-%m-%d}"],
        ["--at", f"{AT:%Y-%m-%d}", "--format", "json"],
        ["--at", f"{ago(1):%Y-%m-%d}"],
    ):
        outputs.append(call(capsys, "debt", "--model", "toy", "--config", config, *words)[:2])
    (code, table), (json_code, text), (healthy_code, line) = outputs
    assert (code, json_code, healthy_code) == (1, 1, 0)
    assert "3.0 in all 12,000 events" in table
    assert "1 finding of 9 checks" in table
    assert [each["subject"] for each in json.loads(text)["findings"]] == ["k"]
    assert "9 checks found nothing to delete" in line
    for note in (
        "Arm p@2 of toy: 0 units",
        "Labels of arm p@2 of toy: 0 raw",
        "there is no query log",
        "keeps no query log",
    ):
        assert note in line
