"""Changes, debt and loops on the real engine."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest
from barograph.contract import Arms, Contract, DeclaredSource, LabelSpec, Rollback
from barograph.contract.file import dump_contract

from barograph_server.alerts.guard.suspected_causes import CHECK_S, cause_history, explain_verdicts
from barograph_server.alerts.rules import rules_for
from barograph_server.alerts.settings import AlertSettings
from barograph_server.dashboards.macros import TimeRange, expand_backend
from barograph_server.governance.change_hook import MAX_CHANGES, ChangesHook
from barograph_server.governance.debt import name_reads
from barograph_server.governance.debt.run_checks import run_checks
from barograph_server.governance.debt.scope import DebtReport
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.settings import GrafanaSettings, Settings
from barograph_server.sketches.baseline.baseline import dump_baseline
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.governance.changes import read_changes
from barograph_server.warehouse.governance.major_verdicts import LEVELS_S
from barograph_server.warehouse.governance.query_log import last_reads
from barograph_server.warehouse.tables import insert_columns, insert_rows
from tests.support import scoring
from tests.support.command_line import OutputOf, call
from tests.support.http import request
from tests.support.pipeline import simple_baseline, simple_contract, wait_for
from tests.support.warehouse import add_row, add_rows, columns, insert, row

HOUR = timedelta(hours=1)
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
MOVED = END - 3 * HOUR
"""From here on the field x has moved; the windows of 3 h become major an hour later."""
TOKEN = "a-token"


def contract() -> Contract:
    return simple_contract(
        declared_sources={
            "fleet": DeclaredSource(owner="ana", fields=("x",)),
            "weather": DeclaredSource(owner="bo", fields=("k",)),
        }
    )


def write_move(client: Client) -> None:
    panes, verdicts = [], []
    for hour in range(48):
        start = END - (48 - hour) * HOUR
        for field in ("x", "k"):
            has_moved = field == "x" and start >= MOVED
            common = {"model": "toy", "version": "1", "baseline_id": "b", "slice": "all", "field": field}
            counts = [20, 80, 0] if has_moved else [80, 20, 0]
            panes.append(row("panes", **common, pane_start=start, pane_s=3600, n=100, counts=counts, sealed=True))
            verdicts.append(
                row(
                    "drift",
                    **common,
                    **{"window": "3h", "window_start": start - 2 * HOUR, "window_end": start + HOUR, "phi": 1.0},
                    **{"level": "major" if has_moved else "stable", "psi": 0.7 if has_moved else 0.01, "n": 300},
                    **{"psi_low": 0.6, "psi_high": 0.8, "judged_at": start + HOUR, "record_seq": hour + 1},
                )
            )
    insert(client, panes=panes, drift=verdicts)
    scoring.register(client, contract(), applied_at=int((END - 72 * HOUR).timestamp() * 1000))


def add_verdict(client: Client, end: datetime, *, level: str, psi: float) -> None:
    verdict = {"model": "toy", "version": "1", "baseline_id": "b", "slice": "all", "field": "x", "window": "3h"}
    times = {"window_start": end - 3 * HOUR, "window_end": end, "judged_at": end, "record_seq": 1000}
    add_row(client, "drift", **verdict, **times, level=level, psi=psi, n=300)


def test_a_reported_change_is_ranked_first_and_is_in_the_message_until_the_level_is_stable(
    client: Client, engine: LocalClickHouse, config: str, output_of: OutputOf
) -> None:
    write_move(client)
    at = MOVED + timedelta(minutes=20)
    for source, subject in (("fleet", "fleet-job"), ("weather", "weather-job")):
        words = ("--kind", "deploy", "--subject", subject, "--source", source, "--owner", "ana", "--after", "4f2a")
        output_of(0, "changes", "add", *words, "--at", at.isoformat(), "--config", config)
    (explained,) = json.loads(
        output_of(0, "changes", "explain", "--model", "toy", "--since", "2d", "--format", "json", "--config", config)
    )
    assert (explained["verdict"]["field"], explained["verdict"]["window_end"]) == ("x", (MOVED + HOUR).isoformat())
    ranked = [(each["change"]["subject"], each["likelihood"]) for each in explained["ranked"]]
    assert ranked == [("fleet-job", "likely"), ("weather-job", "unlikely")]
    history = cause_history(engine.address(client.database), connect, END.timestamp)
    history.follow({"toy": contract()})
    wait_for(lambda: client.rows("SELECT 1 FROM likely_causes"), "the causes")
    history.close()
    select = "SELECT field, rank, subject, likelihood, onset_low <= changed_at AND changed_at <= onset_high "
    assert client.rows(f"{select} FROM likely_causes ORDER BY rank") == [
        ("x", 1, "fleet-job", "likely", True),
        ("x", 2, "weather-job", "unlikely", True),
    ]
    (rule,) = (each for each in rules_for([contract()], AlertSettings()) if each.name == "psi-major")

    def messages() -> list[str]:
        sql = expand_backend(rule.queries["E"], TimeRange.between(END - HOUR, END))
        return [text for values in client.rows(sql) for text in map(str, values) if "It moved" in text]

    message = messages()[0]
    assert message.startswith(f" Drifting since {MOVED + HOUR:%Y-%m-%d %H:%M} UTC. It moved between ")
    assert f"Likely cause: deploy fleet-job 4f2a at {at:%Y-%m-%d %H:%M} UTC, owner ana." in message
    add_verdict(client, END, level="stable", psi=0.01)
    assert messages() == []


def test_a_change_that_is_reported_later_replaces_the_causes(client: Client, engine: LocalClickHouse) -> None:
    write_move(client)
    clock = [END.timestamp()]
    history = cause_history(engine.address(client.database), connect, lambda: clock[0])
    history.follow({"toy": contract()})
    first = "SELECT subject, text FROM likely_causes WHERE rank = 1"
    wait_for(lambda: client.rows(first), "the causes")
    ((subject, text),) = client.rows(first)
    assert subject == ""
    assert text.endswith("No change is recorded before it.")
    with ChangesHook(engine.address(client.database), TOKEN) as hook:
        change = {"kind": "deploy", "subject": "job", "source": "fleet", "changed_at": MOVED.isoformat()}
        code, answer = post(hook, [change, change])
        assert (code, answer["stored"]) == (201, 2)
        (note,) = answer["notes"]
        assert note.startswith("No contract declares the source fleet")
        add_row(client, "lineage", model="toy", node="source:fleet", kind="source", title="fleet")
        assert post(hook, change)[1]["notes"] == []
    clock[0] += CHECK_S

    def follow() -> bool:
        history.follow({"toy": contract()})
        return [each[0] for each in client.rows("SELECT subject FROM likely_causes")] == ["job"]

    wait_for(follow, "the causes with the change")
    history.close()


def post(hook: ChangesHook, body: Any, token: str = TOKEN) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = request("POST", f"{hook.url}changes", data, {"Authorization": f"Bearer {token}"})
    return answer.status, answer.json()


def test_a_wrong_request_stores_nothing_and_says_why(client: Client, engine: LocalClickHouse) -> None:
    good = {"kind": "deploy", "subject": "job"}
    with ChangesHook(engine.address(client.database), TOKEN) as hook:
        for body, status, message in (
            (b"{", 400, "not valid JSON"),
            ([good] * (MAX_CHANGES + 1), 400, "not 101"),
            ([good, {"kind": "deploy"}], 400, "Change 2: subject is missing; write what changed"),
            ({**good, "sources": "x"}, 400, "Change 1: sources is not a member of a change"),
            ({**good, "kind": "contract"}, 400, "kind contract is one that Barograph records itself"),
            ({**good, "reason": "x" * 2001}, 400, "reason has 2,001 characters"),
            ({**good, "changed_at": "2026-05-04T12:00:00"}, 400, "changed_at has no time zone"),
            ({**good, "owner": "\ud800"}, 400, "half a surrogate pair"),
            ({**good, "changed_at": "2999-01-01T00:00:00Z"}, 400, "changed_at is in the future"),
            (b" " * 70_000, 413, "larger than 64 KiB"),
        ):
            code, answer = post(hook, body)
            assert (code, message in answer["error"]) == (status, True), answer
        code, answer = post(hook, good, "another token")
        assert (code, TOKEN in answer["error"]) == (401, False)
    assert client.rows("SELECT count() FROM changes") == [(0,)]


def test_changes_that_other_tables_record(client: Client) -> None:
    texts = "# a comment\nmodel: toy\nslice_min_n: 1\n", "model: toy\nslice_min_n: 2\n"
    for number, text in enumerate(texts):
        at = END + number * timedelta(minutes=1)
        add_row(client, "contracts", model="toy", contract_id=str(number), yaml=text, applied_at=at)
    promotion = {"replaced": "1", "serving": "2", "override_reason": "urgent", "override_by": "ana"}
    add_row(client, "promotions", model="toy", contract_id="1", applied_at=END, **promotion)
    baselines = [{"version": "1", "effective_from": 0}, {"version": "2", "effective_from": MOVED}]
    add_rows(client, "baselines", baselines, model="toy", baseline_id="b", accepted_at=END)
    volume = {"model": "toy", "slice": "all", "pane_s": 60, "n": 5, "version": "2"}
    add_rows(client, "volume", ({"pane_start": MOVED + n * HOUR} for n in range(3)), **volume)
    add_row(client, "arm_counts", model="toy", slice="all", arm="b", predictions=3, window_start=MOVED)
    fact = {"model": "toy", "instance": "gpu:8000", "name": "restarts", "value": 1.0, "server": "vllm", "at": END}
    add_row(client, "serving_facts", **fact)
    deployed = {"kind": "deploy", "subject": "job", "changed_at": END}
    add_rows(client, "changes", ({"model": name} for name in ("drill.toy.1", "toy")), **deployed)
    assert {each.model for each in read_changes(client, None, MOVED, END + HOUR)} == {"toy"}, "drills are left out"
    changes = read_changes(client, "toy", MOVED, END + HOUR)
    assert [(each.changed_at, each.kind, each.before, each.after, each.reason) for each in changes] == [
        (MOVED, "arm", "", "b", ""),
        (MOVED, "baseline", "", "b", ""),
        (MOVED, "version", "", "2", ""),
        (END, "baseline", "", "b", ""),
        (END, "contract", "", "0", "first contract"),
        (END, "deploy", "", "", ""),
        (END, "promotion", "1", "2", "urgent"),
        (END, "server-restart", "", "vllm", ""),
        (END + timedelta(minutes=1), "contract", "0", "1", "- slice_min_n: 1; + slice_min_n: 2"),
    ]


def test_a_lasting_level_is_explained_once_and_its_onset_begins_with_the_last_pane_before_it(client: Client) -> None:
    write_move(client)
    explained = explain_verdicts(client, contract(), MOVED - HOUR, END)
    assert [(each.verdict.field, each.verdict.window_end) for each in explained] == [("x", MOVED + HOUR)]
    assert explain_verdicts(client, contract(), MOVED + HOUR, END) == []
    # Hours without traffic.
    client.command(
        "ALTER TABLE panes DELETE WHERE pane_start >= {a:DateTime} AND pane_start < {b:DateTime}",
        {"a": MOVED - 3 * HOUR, "b": MOVED},
    )
    (later,) = explain_verdicts(client, contract(), MOVED - HOUR, END)
    assert later.onset is not None
    assert (later.onset.low, later.onset.at) == (MOVED - 4 * HOUR, MOVED)
    # A week later it is explained again, wherever the range begins.
    again = END + timedelta(seconds=LEVELS_S) + HOUR
    add_verdict(client, again, level="major", psi=0.7)
    for start, ends in ((MOVED - HOUR, [MOVED + HOUR, again]), (END, [again])):
        assert [each.verdict.window_end for each in explain_verdicts(client, contract(), start, again)] == ends
    # A model that begins at this level has not changed.
    client.command("ALTER TABLE drift DELETE WHERE level = 'stable'")
    assert len(explain_verdicts(client, contract(), MOVED - HOUR, END)) == 1
    add_row(client, "volume", model="toy", version="1", slice="all", pane_start=MOVED - 3 * HOUR, n=1)
    assert explain_verdicts(client, contract(), MOVED - HOUR, END) == []


AT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
LOG = "recorded_queries"
Rows = dict[str, list[dict[str, Any]]]


def ago(days: float) -> datetime:
    return AT - timedelta(days=days)


def healthy(**changes: Any) -> tuple[Contract, Rows]:
    """A contract, and the rows of 40 days in which everything is used; `reads` are the newest queries by their text."""
    arms = Arms(shares={"p@1": 0.5, "p@2": 0.5}, unit="context.user")
    rollback = Rollback(prompt="p", margins={"errors": 0.02})
    label = LabelSpec(type="bool", positive=True, horizon_s=86_400)
    contract = simple_contract(**{"owners": ("ana",), "arms": arms, "rollback": rollback, "label": label, **changes})
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
def test_each_rule_reports_on_its_day_only(report: Callable[..., list[DebtReport]], case: tuple[str, str, int]) -> None:
    kind, subject, days = case
    table, differs, change = CASES[case]
    contract, rows = healthy(
        **({"arms": None, "rollback": None, "label": None} if "slice without readers" in kind else {})
    )
    since = ago(days)
    stored, rows[table] = rows[table], []
    for each in stored:
        begin = ago(89) if table == "reads" else since
        is_changed = differs(each) and (each.get("pane_start") or each["at"]) >= begin
        rows[table] += [{**each, **change}] * bool(change) if is_changed else [each]
    before, after = report(contract, rows, ago(1), AT)
    assert before.findings == ()
    (finding,) = after.findings
    assert (finding.kind, finding.model, finding.subject, finding.owner) == (kind, "toy", subject, "ana")
    # Since when labels are missing is not stored.
    assert finding.since == (None if kind == "arm without labels" else since)
    assert (finding.stored_bytes or 0) > 0
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
    ask = partial(call, capsys, "debt", "--model", "toy", "--config", config, "--at")
    code, table, _ = ask(f"{AT:%Y-%m-%d}")
    json_code, text, _ = ask(f"{AT:%Y-%m-%d}", "--format", "json")
    healthy_code, line, _ = ask(f"{ago(1):%Y-%m-%d}")
    assert (code, json_code, healthy_code) == (1, 1, 0)
    assert "3.0 in all 12,000 events" in table
    assert "1 finding of 9 checks" in table
    assert [each["subject"] for each in json.loads(text)["findings"]] == ["k"]
    assert "9 checks found nothing to delete" in line
    notes = ("Arm p@2 of toy: 0 units", "Labels of arm p@2 of toy: 0 raw", "there is no query log")
    for note in (*notes, "keeps no query log"):
        assert note in line


CONTRACT = """contract: 1
model: feed
fields:
  late_aircraft: {type: float}
  seats: {type: int}
  user: {type: category, from: context.user_id}
  genre: {type: category}
"""
USERS, DAYS = 150, 40
LOOPS = ("loops", "--model", "feed", "--config")
START = datetime.now(UTC) - timedelta(days=DAYS)


def record(client: Client, exploration: float) -> None:
    """Record a prediction of each user and day; class b adds 0.6 σ to the user's next `late_aircraft`."""
    rng = np.random.default_rng(4)
    user, day = np.repeat(np.arange(USERS), DAYS), np.tile(np.arange(DAYS), USERS)
    n = len(user)
    is_b, explored = rng.random(n) < 0.5, rng.random(n) < exploration
    late = rng.standard_normal(n) + 0.6 * np.where(day > 0, np.roll(is_b, 1), 0)
    context = [
        {"user_id": f"u{i}"} | ({"exploration": "true", "propensity": "0.5"} if e else {})
        for i, e in zip(user, explored, strict=True)
    ]
    context[0] |= {"exploration": "perhaps"}
    context[1] |= {"exploration": "1", "propensity": "half"}
    at = [int((START + timedelta(days=int(d))).timestamp() * 1000) for d in day]
    values: dict[str, Any] = {
        "model": "feed",
        "version": "1",
        "id": [f"p{i}" for i in range(n)],
        "offset": list(range(n)),
        "at": at,
        "received_at": at,
        "context": context,
        "numbers": [{"late_aircraft": float(x), "seats": 100.0} for x in late],
        "strings": [{"genre": "news" if b else "sport"} for b in is_b],
        "class": np.where(is_b, "b", "a").tolist(),
        "error": ["Timeout" if i == 2 else "" for i in range(n)],
    }
    insert_columns(client, "predictions", columns("predictions", n, **values))
    add_row(client, "contracts", model="feed", contract_id="c", yaml=CONTRACT)


def test_a_planted_loop_is_likely_and_errors_say_what_to_do(client: Client, config: str, output_of: OutputOf) -> None:
    record(client, exploration=0.5)
    words: tuple[str, ...] = ("--entity", "context:user_id", "--output", "class=b", "--lag", "23h")
    report = json.loads(output_of(1, *LOOPS, config, *words, "--format", "json"))
    effect = report["measurement"]["effects"]["late_aircraft"]
    assert report["measurement"]["verdict"] == {"name": "likely", "reason": "", "fields": ["late_aircraft"]}
    assert effect["low"] < 0.6 < effect["high"]
    assert report["measurement"]["effects"]["seats"]["high"] == 0.0
    counts = report["population"]
    assert (counts["predictions"], counts["failed"]) == (USERS * DAYS, 1)
    assert (counts["unreadable_exploration"], counts["unreadable_propensity"]) == (1, 1)
    assert counts["explored"] == report["measurement"]["explored"] > 2_000
    assert report["exposures"]["items"] == 2
    assert sum(report["exposures"]["exposures"]) == USERS * DAYS - 1
    words = ("--entity", "user", "--items", "genre", "--field", "late_aircraft", "--output", "class=b")
    text = output_of(1, *LOOPS, config, *words, "--lag", "23h")
    assert text.startswith(f"loop: likely (late_aircraft: {effect['value']:+.2f} [")
    assert "unreadable propensity" in text
    assert "week of genre" in text
    assert "seats" not in text
    for words, message in (
        (("--entity", "tail"), "No prediction that succeeded has a value of --entity tail"),
        (("--entity", "user", "--field", "late_aircrat"), "did you mean 'late_aircraft'?"),
        (("--entity", "user", "--output", "class"), "write class=NAME, score>=NUMBER or score"),
    ):
        assert message in " ".join(output_of(3, *LOOPS, config, *words).split())


def test_nothing_is_claimed_without_exploring(client: Client, config: str, output_of: OutputOf) -> None:
    record(client, exploration=0.0)
    text = output_of(2, *LOOPS, config, "--entity", "context.user_id")
    assert text.startswith("loop: cannot tell (no exploration)\n")
    assert "Trend of entropy" in text
