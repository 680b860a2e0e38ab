import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from barograph.contract import Fallback
from barograph.contract.file import parse_contract
from barograph.guard.health import FiringState, HealthReason, ModelHealth, RuleProgress, decode_health, encode_health
from confluent_kafka import TopicPartition

from barograph_server.alerts import AlertSettings
from barograph_server.alerts.guard import health_history
from barograph_server.alerts.guard.change_ranking import LEAD, rank_changes
from barograph_server.alerts.guard.health_history import HealthHistory
from barograph_server.alerts.guard.model_guard import BLIND, BLIND_AFTER_S, ActiveInstance, ModelGuard, is_news
from barograph_server.alerts.guard.processor import GuardProcessor
from barograph_server.alerts.rules import rules_for
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.governance.changes import Change
from barograph_server.warehouse.governance.major_verdicts import OnsetInterval
from tests.support.fake_consumer import FakeConsumer

FALLBACK, NO_HOLD = Fallback(hold_s=30, recover_s=100), Fallback(recover_s=100)
BLIND_TEXT = "ClickHouse does not answer."


def drift(state: FiringState = "Alerting") -> ActiveInstance:
    return ActiveInstance(
        RuleProgress(uid="u", key="temp", state=state, since_s=0),
        HealthReason(rule="psi-major", field="temp", value=0.5, text="PSI of temp is 0.5."),
    )


def guard(last: ModelHealth | None = None, fallback: Fallback = FALLBACK) -> ModelGuard:
    return ModelGuard("m", fallback, "g1", last)


def states(model: ModelGuard, times: range, active: list[ActiveInstance], blind: str = "") -> list[str]:
    return [model.evaluate(now, active, blind).state for now in times]


def test_a_rule_must_fire_for_the_hold() -> None:
    model = guard()
    assert states(model, range(1000, 1030, 10), [drift()]) == ["healthy"] * 3
    record = model.evaluate(1030, [drift()], "")
    assert (record.state, record.since_ms) == ("degraded", 1_030_000)
    assert [(each.rule, each.field, each.since_ms) for each in record.reasons] == [("psi-major", "temp", 1_000_000)]


def test_a_pending_rule_neither_degrades_nor_lets_recover() -> None:
    model = guard(fallback=NO_HOLD)
    assert states(model, range(1000, 1500, 100), [drift("Pending")]) == ["healthy"] * 5
    assert model.evaluate(1500, [drift()], "").state == "degraded"
    assert states(model, range(1600, 2000, 100), [drift("Pending")]) == ["degraded"] * 4


def test_a_model_recovers_after_an_uninterrupted_quiet_time() -> None:
    model = guard(fallback=NO_HOLD)
    model.evaluate(1000, [drift()], "")
    assert states(model, range(1010, 1100, 30), []) == ["degraded"] * 3
    model.evaluate(1100, [drift("Recovering")], "")
    assert states(model, range(1110, 1210, 50), []) == ["degraded"] * 2
    record = model.evaluate(1210, [], "")
    assert (record.state, record.since_ms) == ("healthy", 1_210_000)


def test_blindness_becomes_unknown_and_the_state_before_returns() -> None:
    model = guard(fallback=NO_HOLD)
    model.evaluate(1000, [drift()], "")
    latest = model.evaluate(1010, [], "")
    assert states(model, range(1020, 1020 + BLIND_AFTER_S, 20), [], BLIND_TEXT) == ["degraded"] * 3
    record = model.evaluate(1020 + BLIND_AFTER_S, [], BLIND_TEXT)
    assert (record.state, record.known_state, record.since_ms) == ("unknown", "degraded", 1_080_000)
    assert record.evaluated_at_ms == latest.evaluated_at_ms, "nothing was evaluated since"
    assert [each.text for each in record.reasons] == [BLIND_TEXT]
    assert states(model, range(1100, 1200, 50), []) == ["degraded"] * 2, "the quiet time starts over"
    assert model.evaluate(1200, [], "").state == "healthy"


def test_a_restarted_guard_gives_the_same_states() -> None:
    """Every record, decoded, is a point at which another guard may continue."""
    script: list[tuple[list[ActiveInstance], str]] = [
        *[([], "")] * 2,
        *[([drift("Pending")], "")] * 2,
        *[([drift()], "")] * 6,
        *[([], BLIND_TEXT)] * 9,
        *[([], "")] * 6,
        *[([drift("Recovering")], "")] * 2,
        *[([], "")] * 12,
    ]
    steady, restarted = guard(), guard()
    for i, (active, blind) in enumerate(script):
        now = 1000 + 10 * i
        expected = steady.evaluate(now, active, blind)
        record = restarted.evaluate(now, active, blind)
        assert record == expected
        restarted = guard(decode_health(encode_health(record)))
    assert expected.state == "healthy"
    assert expected.sequence == 1_000_000 + len(script) - 1


def test_the_numbers_of_records_grow_even_if_the_topic_is_created_again() -> None:
    before = guard()
    before.evaluate(1000, [], "")
    newest = before.evaluate(1010, [], "")
    assert guard().evaluate(1011, [], "").sequence > newest.sequence


def test_a_guard_after_one_whose_clock_was_ahead_waits_no_longer_than_the_contract_says() -> None:
    ahead = guard()
    assert ahead.evaluate(9000, [drift()], "").state == "healthy"
    assert states(guard(ahead.last), range(1000, 1031, 10), [drift()])[-2:] == ["healthy", "degraded"]
    ahead.evaluate(9030, [drift()], "")
    quiet = ahead.evaluate(9040, [], "")
    assert states(guard(quiet), range(1000, 1101, 50), []) == ["degraded", "degraded", "healthy"]
    behind = guard(ahead.evaluate(9050, [], BLIND_TEXT))
    assert states(behind, range(1000, 1001 + BLIND_AFTER_S, 30), [], BLIND_TEXT) == ["degraded", "degraded", "unknown"]


def test_records_are_news_only_if_their_content_changed() -> None:
    model = guard(fallback=NO_HOLD)
    first = model.evaluate(1000, [drift()], "")
    later = model.evaluate(1010, [drift()], "")
    assert is_news(first, None)
    assert not is_news(later, first)
    assert is_news(msgspec.structs.replace(later, when_unknown="degrade"), first)
    assert is_news(model.evaluate(1020, [], ""), later)


CONTRACT = parse_contract(
    "contract: 1\nmodel: m\nwindows: [{length: 1h, hop: 1m}]\n"
    "fields: {temp: {type: float, critical: true}}\nfallback: {rules: [psi-major]}"
)
REGISTRY = build_registry([(CONTRACT, 1)], [])
SETTINGS = ProcessorSettings(instance="g1", bootstrap_servers="127.0.0.1:1", warehouse=Address("127.0.0.1", 1, "b"))
T0 = 1_800_000_000
T0_MS = T0 * 1000
LAST = ModelHealth(
    model="m", state="healthy", since_ms=T0_MS, at_ms=T0_MS, evaluated_at_ms=T0_MS, sequence=T0_MS, guard="g0"
)
Rows = list[Mapping[str, Any]]


class Log:
    """Takes the place of the topic: keeps what is written, and rejects it on request."""

    def __init__(self, last: ModelHealth | None = None) -> None:
        self.calls: list[str] = []
        self.records = {} if last is None else {"m": last}
        self.rejects = 0
        self.on_call: Callable[[], object] = lambda: None
        self.problem: ProcessorError | None = None
        self.is_closed = False

    def require_one_partition(self) -> None:
        if self.problem is not None:
            raise self.problem

    def lead(self) -> dict[str, ModelHealth]:
        self.calls.append("lead")
        return dict(self.records)

    def publish(self, records: Iterable[ModelHealth]) -> bool:
        self.rejects -= 1
        self.calls.append("rejected" if self.rejects >= 0 else "written")
        if self.rejects < 0:
            self.records |= {record.model: record for record in records}
        self.on_call()
        return self.rejects < 0

    def close(self) -> None:
        self.is_closed = True


class OnlyMember(FakeConsumer):
    """The one partition is assigned at the first poll."""

    def poll(self, _timeout_s: float) -> None:
        if not self.assignments:
            self.on_assign(self, [TopicPartition("model-health", 0)])


class Engine:
    """Takes the place of ClickHouse: counts queries and rejects each."""

    def __init__(self) -> None:
        self.queries = 0

    def rows(self, _sql: str) -> Any:
        self.queries += 1
        raise WarehouseError("no")

    def close(self) -> None: ...


class Guard:
    def __init__(self, log: Log, *, delivers: bool = False, connects: bool = True) -> None:
        self.log, self.engine, self.now_s = log, Engine(), float(T0)
        self.changes: list[str] = []
        options: dict[str, Any] = {"connect_to": lambda _: self.engine} if connects else {}
        self.processor = GuardProcessor(
            SETTINGS,
            AlertSettings(),
            lambda: REGISTRY,
            Report("guard", "g1"),
            self.changes.append,
            (lambda _notification, _messages: None) if delivers else None,
            health_log=log,  # type: ignore[arg-type]
            consumer=OnlyMember(),
            clock=lambda: self.now_s,
            **options,
        )


@pytest.fixture(autouse=True)
def history(monkeypatch: pytest.MonkeyPatch) -> Rows:
    """The rows that are written to `model_health`."""
    rows: dict[str, Rows] = {"model_health": []}
    monkeypatch.setattr(health_history, "insert_rows", lambda _client, table, own: rows[table].extend(own))
    return rows["model_health"]


def test_a_guard_whose_records_were_not_committed_reads_the_topic_before_it_writes_again() -> None:
    log, stop = Log(), threading.Event()
    log.rejects = 1
    log.on_call = lambda: stop.set() if log.rejects < 0 else None
    Guard(log).processor.run(stop)
    assert log.calls == ["lead", "rejected", "lead", "written"]


@pytest.mark.parametrize("ahead_s", [0, 86_400])
def test_records_continue_after_a_leader_whose_clock_was_ahead(ahead_s: int) -> None:
    last = msgspec.structs.replace(LAST, at_ms=LAST.at_ms + ahead_s * 1000)
    guard, stop = Guard(Log(last)), threading.Event()
    guard.now_s += 15
    guard.log.on_call = stop.set
    guard.processor.run(stop)
    written = guard.log.records["m"]
    assert (written.at_ms, written.sequence) == ((T0 + 15) * 1000, last.sequence + 1)


def test_a_clock_that_steps_back_does_not_suspend_the_rules() -> None:
    guard = Guard(Log())
    guard.processor.step()
    before = guard.engine.queries
    guard.now_s += 1
    guard.processor.step()
    assert guard.engine.queries == before, "no rule is due"
    guard.now_s -= 3600
    guard.processor.step()
    assert guard.engine.queries == 2 * before


def test_only_a_guard_that_sends_notifications_evaluates_rules_that_decide_no_state() -> None:
    rules = rules_for([CONTRACT], AlertSettings())
    deciding = {rule.title for rule in rules if rule.name in ("psi-major", "pipeline-lag", "processor-gone")}
    for delivers, titles in ((False, deciding), (True, {rule.title for rule in rules})):
        guard = Guard(Log(), delivers=delivers)
        guard.processor.step()
        evaluated = {text.partition(": cannot be evaluated")[0] for text in guard.changes if ": cannot be e" in text}
        assert evaluated == titles


def test_a_guard_that_cannot_start_closes_its_log() -> None:
    guard = Guard(Log())
    guard.log.problem = ProcessorError("the topic has 2 partitions")
    with pytest.raises(ProcessorError, match="the topic has 2 partitions"):
        guard.processor.run(threading.Event())
    assert guard.log.is_closed
    assert (guard.log.calls, guard.engine.queries) == ([], 0)


def test_a_guard_that_reaches_no_warehouse_reports_that_it_is_blind() -> None:
    guard = Guard(Log(LAST), connects=False)
    for _ in range(2):
        guard.processor.step()
        guard.now_s += BLIND_AFTER_S
    written = guard.log.records["m"]
    assert written.state == "unknown"
    assert [(each.rule, each.text.partition(": ")[0]) for each in written.reasons] == [
        (BLIND, "ClickHouse does not answer")
    ]


def test_a_model_without_a_record_is_not_called_healthy_and_one_that_recovers_is() -> None:
    new = Guard(Log())
    new.processor.step()
    about_model = [text for text in new.changes if text.startswith("m")]
    assert about_model[-1] == "m: no rule of `fallback.rules` fires, so serving uses the model."
    assert "m is healthy." not in new.changes
    recovered = Guard(Log(msgspec.structs.replace(LAST, state="unknown")))
    recovered.processor._sent = dict(recovered.log.records)
    recovered.processor.step()
    assert "m is healthy." in recovered.changes


CLIENT: Any = None


def later(after_s: int, sequence: int, **changes: Any) -> ModelHealth:
    return msgspec.structs.replace(LAST, at_ms=T0_MS + after_s * 1000, sequence=sequence, **changes)


def test_a_row_a_minute_and_one_for_each_change(history: Rows) -> None:
    writer = HealthHistory()
    number, other = (HealthReason(rule="psi-major", field="temp", text=f"PSI of temp is {psi}") for psi in (0.4, 0.5))
    degraded = {"state": "degraded", "since_ms": T0_MS + 20_000, "reasons": (number,)}
    for record in (
        later(0, 1),
        later(0, 1),
        later(10, 2),
        later(20, 3, **degraded),
        later(30, 4, **degraded),
        later(40, 5, **degraded | {"reasons": (other,)}),
        later(80, 6, **degraded),
        later(81, 7, state="healthy", since_ms=T0_MS + 81_000),
    ):
        writer.write(CLIENT, [record])
    assert [row["sequence"] for row in history] == [1, 3, 6, 7], "another number of the same reason is no change"
    assert history[1] == {
        **{"model": "m", "at": T0_MS + 20_000, "sequence": 3, "state": "degraded", "since": T0_MS + 20_000},
        **{"evaluated_at": T0_MS, "rules": ["psi-major"], "fields": ["temp"], "texts": ["PSI of temp is 0.4"]},
        "guard": "g0",
    }


def test_rows_are_lost_while_clickhouse_is_down_and_the_state_is_not(
    history: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = HealthHistory()
    degraded = {"state": "degraded", "since_ms": T0_MS + 5000}
    with monkeypatch.context() as down:
        down.setattr(health_history, "insert_rows", Mock(side_effect=WarehouseBusy("down")))
        writer.write(CLIENT, [LAST])
        writer.write(CLIENT, [later(5, 2, **degraded)])
    writer.write(CLIENT, [later(15, 3, **degraded)])
    assert [(row["state"], row["since"]) for row in history] == [("degraded", T0_MS + 5000)]


AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
ONSET = OnsetInterval(AT, AT - timedelta(minutes=10), AT + timedelta(minutes=10))
FLEET = frozenset({"fleet"})


def change(minutes: float, source: str = "", model: str = "m", subject: str = "job") -> Change:
    time = AT + timedelta(minutes=minutes)
    return Change(time, "deploy", model, subject, "", "", source, "", "", "")


def test_a_change_is_judged_by_source_and_time() -> None:
    for minutes, source, model, expected in (
        (0, "fleet", "", ("own source", "at onset", "likely")),
        (10, "fleet", "", ("own source", "at onset", "likely")),
        (11, "fleet", "", ("own source", "after", "unlikely")),
        (-10 - LEAD.total_seconds() / 60, "fleet", "", ("own source", "at onset", "likely")),
        (-11 - LEAD.total_seconds() / 60, "fleet", "", ("own source", "before", "possible")),
        (0, "", "m", ("model", "at onset", "likely")),
        (-600, "", "m", ("model", "before", "unlikely")),
        (0, "", "", ("unknown", "at onset", "possible")),
        (0, "weather", "", ("other source", "at onset", "unlikely")),
        (0, "weather", "m", ("other source", "at onset", "unlikely")),
    ):
        (ranked,) = rank_changes([change(minutes, source, model)], ONSET, FLEET)
        assert (ranked.relation, ranked.timing, ranked.likelihood) == expected, (minutes, source, model)
    (ranked,) = rank_changes([change(0, "weather")], ONSET, frozenset())
    assert (ranked.relation, ranked.likelihood) == ("unknown", "possible"), "the field declares no source"


def test_the_nearest_change_of_the_own_source_comes_first() -> None:
    changes = [
        change(5, "", "m", "model"),
        change(9, "fleet", "", "second"),
        change(2, "fleet", "", "first"),
        change(0, "weather", "", "weather"),
        change(1, "", "", "other"),
    ]
    ranked = rank_changes(changes, ONSET, FLEET)
    assert [each.change.subject for each in ranked] == ["first", "second", "model", "other", "weather"]


def test_without_an_onset_no_change_is_likely_and_the_latest_comes_first() -> None:
    changes = [change(-5, "fleet", "", "old"), change(20, "fleet", "", "new"), change(0, "", "m", "model")]
    ranked = rank_changes(changes, None, FLEET)
    assert [each.change.subject for each in ranked] == ["new", "old", "model"]
    assert {each.likelihood for each in ranked} == {"possible"}
    assert {each.timing for each in ranked} == {"unknown"}


def test_the_first_traffic_of_a_version_concerns_its_own_verdicts() -> None:
    first = Change(AT, "version", "m", "", "", "2", "", "", "", "")
    for version, likelihood in (("2", "likely"), ("1", "possible")):
        (ranked,) = rank_changes([first], ONSET, FLEET, version)
        assert ranked.likelihood == likelihood
