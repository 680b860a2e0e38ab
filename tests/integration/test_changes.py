"""Changes: reported by command and over HTTP, derived from other tables, and ranked as causes by the guard."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from barograph.contract import Contract, DeclaredSource
from barograph.contract.file import dump_contract

from barograph_server.alerts.guard.cause_history import CHECK_S, cause_history
from barograph_server.alerts.guard.suspected_causes import explain_verdicts, store_causes
from barograph_server.alerts.rules import rules_for
from barograph_server.alerts.settings import AlertSettings
from barograph_server.dashboards.macros import TimeRange, expand_backend
from barograph_server.governance.change_hook import MAX_CHANGES, ChangesHook
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.governance.changes import read_changes
from barograph_server.warehouse.tables import insert_rows
from tests.support.command_line import run
from tests.support.http import request
from tests.support.pipeline import simple_contract, wait_for
from tests.support.warehouse import row

pytestmark = pytest.mark.engine

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
    insert_rows(client, "panes", panes)
    insert_rows(client, "drift", verdicts)
    insert_rows(
        client,
        "contracts",
        [row("contracts", model="toy", contract_id="1", yaml=dump_contract(contract()), applied_at=END - 72 * HOUR)],
    )


def test_a_reported_change_is_ranked_first_and_reaches_the_message(
    client: Client, engine: LocalClickHouse, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_move(client)
    at = MOVED + timedelta(minutes=20)
    for source, subject in (("fleet", "fleet-job"), ("weather", "weather-job")):
        words = ("--kind", "deploy", "--subject", subject, "--source", source, "--owner", "ana", "--after", "4f2a")
        assert run("changes", "add", *words, "--at", at.isoformat(), "--config", config) == 0
    capsys.readouterr()
    assert run("changes", "explain", "--model", "toy", "--since", "2d", "--format", "json", "--config", config) == 0
    (explained,) = json.loads(capsys.readouterr().out)
    assert (explained["verdict"]["field"], explained["verdict"]["window_end"]) == ("x", (MOVED + HOUR).isoformat())
    ranked = [(each["change"]["subject"], each["likelihood"]) for each in explained["ranked"]]
    assert ranked == [("fleet-job", "likely"), ("weather-job", "unlikely")]

    clock = [END.timestamp()]
    history = cause_history(engine.address(client.database), connect, lambda: clock[0])
    history.follow({"toy": contract()})
    wait_for(lambda: client.rows("SELECT 1 FROM likely_causes"), "the causes")
    history.close()
    select = "SELECT field, rank, subject, likelihood, onset_low <= changed_at AND changed_at <= onset_high "
    assert client.rows(f"{select} FROM likely_causes ORDER BY rank") == [
        ("x", 1, "fleet-job", "likely", True),
        ("x", 2, "weather-job", "unlikely", True),
    ]
    (rule,) = (each for each in rules_for([contract()], AlertSettings()) if each.name == "psi-major")
    sql = expand_backend(rule.queries["E"], TimeRange.between(END - HOUR, END))
    message = next(text for values in client.rows(sql) for text in values if "It moved" in str(text))
    assert message.startswith(" It moved between ")
    assert f"Likely cause: deploy fleet-job 4f2a at {at:%Y-%m-%d %H:%M} UTC, owner ana." in message


def test_a_change_that_is_reported_later_replaces_the_earlier_computation(
    client: Client, engine: LocalClickHouse
) -> None:
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
        insert_rows(client, "lineage", [row("lineage", model="toy", node="source:fleet", kind="source", title="fleet")])
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


GOOD = {"kind": "deploy", "subject": "job"}


WRONG: tuple[tuple[Any, int, str], ...] = (
    (b"{", 400, "not valid JSON"),
    ([GOOD] * (MAX_CHANGES + 1), 400, "not 101"),
    ([GOOD, {"kind": "deploy"}], 400, "Change 2: subject is missing; write what changed"),
    ({**GOOD, "sources": "x"}, 400, "Change 1: sources is not a member of a change"),
    ({**GOOD, "kind": "contract"}, 400, "kind contract is one that Barograph records itself"),
    ({**GOOD, "reason": "x" * 2001}, 400, "reason has 2,001 characters"),
    ({**GOOD, "changed_at": "2026-05-04T12:00:00"}, 400, "changed_at has no time zone"),
    ({**GOOD, "owner": "\ud800"}, 400, "half a surrogate pair"),
    ({**GOOD, "changed_at": "2999-01-01T00:00:00Z"}, 400, "changed_at is in the future"),
    (b" " * 70_000, 413, "larger than 64 KiB"),
)
"""Body of a request, status of the answer, and part of its error."""


def test_a_wrong_request_stores_nothing_and_says_why(client: Client, engine: LocalClickHouse) -> None:
    with ChangesHook(engine.address(client.database), TOKEN) as hook:
        for body, status, message in WRONG:
            code, answer = post(hook, body)
            assert (code, message in answer["error"]) == (status, True), answer
        code, answer = post(hook, GOOD, "another token")
        assert (code, TOKEN in answer["error"]) == (401, False)
    assert client.rows("SELECT count() FROM changes") == [(0,)]


def test_changes_that_other_tables_record(client: Client) -> None:
    texts = "# a comment\nmodel: toy\nslice_min_n: 1\n", "model: toy\nslice_min_n: 2\n"
    for number, text in enumerate(texts):
        contract_row = row(
            "contracts", model="toy", contract_id=str(number), yaml=text, applied_at=END + number * timedelta(minutes=1)
        )
        insert_rows(client, "contracts", [contract_row])
    promotion = {"replaced": "1", "serving": "2", "override_reason": "urgent", "override_by": "ana"}
    insert_rows(client, "promotions", [row("promotions", model="toy", contract_id="1", applied_at=END, **promotion)])
    baselines = [{"version": "1", "effective_from": 0}, {"version": "2", "effective_from": MOVED}]
    insert_rows(
        client, "baselines", [row("baselines", model="toy", baseline_id="b", accepted_at=END, **b) for b in baselines]
    )
    volume = {"model": "toy", "slice": "all", "pane_s": 60, "n": 5, "version": "2"}
    insert_rows(client, "volume", [row("volume", **volume, pane_start=MOVED + n * HOUR) for n in range(3)])
    arm = {"model": "toy", "slice": "all", "arm": "b", "predictions": 3, "window_start": MOVED}
    insert_rows(client, "arm_counts", [row("arm_counts", **arm)])
    fact = {"model": "toy", "instance": "gpu:8000", "name": "restarts", "value": 1.0, "server": "vllm", "at": END}
    insert_rows(client, "serving_facts", [row("serving_facts", **fact)])

    of_drill = row("changes", kind="deploy", subject="job", model="drill.toy.1", changed_at=END)
    insert_rows(client, "changes", [of_drill, of_drill | {"model": "toy"}])
    assert {each.model for each in read_changes(client, None, MOVED, END + HOUR)} == {"toy"}, "drills are left out"

    changes = read_changes(client, "toy", MOVED, END + HOUR)
    assert [(each.kind, each.before, each.after, each.reason) for each in changes if each.changed_at == MOVED] == [
        ("arm", "", "b", ""),
        ("baseline", "", "b", ""),
        ("version", "", "2", ""),
    ]
    later = [(each.kind, each.before, each.after, each.reason) for each in changes if each.changed_at != MOVED]
    assert later == [
        ("baseline", "", "b", ""),
        ("contract", "", "0", "first contract"),
        ("deploy", "", "", ""),
        ("promotion", "1", "2", "urgent"),
        ("server-restart", "", "vllm", ""),
        ("contract", "0", "1", "- slice_min_n: 1; + slice_min_n: 2"),
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


def test_a_cause_ends_with_the_major_level(client: Client) -> None:
    write_move(client)
    store_causes(client, explain_verdicts(client, contract(), MOVED - HOUR, END), END)
    (rule,) = (each for each in rules_for([contract()], AlertSettings()) if each.name == "psi-major")

    def has_cause() -> bool:
        sql = expand_backend(rule.queries["E"], TimeRange.between(END - HOUR, END))
        return any("It moved" in str(text) for values in client.rows(sql) for text in values)

    assert has_cause()
    verdict = {"model": "toy", "version": "1", "baseline_id": "b", "slice": "all", "field": "x", "window": "3h"}
    times = {"window_start": END - 3 * HOUR, "window_end": END, "judged_at": END, "record_seq": 1000}
    insert_rows(client, "drift", [row("drift", **verdict, **times, level="stable", psi=0.01, n=300)])
    assert not has_cause()
