import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, Field
from barograph.contract.file import dump_contract, parse_contract
from barograph.contract.problems import ContractError

from barograph_server.alerts import AlertsError, AlertSettings, rules_of
from barograph_server.alerts.backtest import Backtest, KnownIncident, backtest, changed
from barograph_server.alerts.simulator import Replay, Simulation, simulate
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.operations.dev.page import open_incidents
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Address, Client
from barograph_server.warehouse.signals import FactTime
from barograph_server.warehouse.tables import insert_rows
from tests.support.command_line import OutputOf
from tests.support.warehouse import add_row, migrated, row

HOUR_S, DAY_S = 3600, 86_400
T0 = (int(datetime.now(UTC).timestamp()) // DAY_S - 40) * DAY_S
"""Start of the history, a midnight; all data is from the following month."""
CONTRACT = parse_contract(
    """
contract: 1
model: m
pane: 1h
lateness: 1h
windows: [{length: 1d, hop: 1h}, {length: 7d, hop: 1h}]
fields:
  temp: {type: float, critical: true}
  wind: {type: float}
label: {type: bool, positive: true}
slo: {error_rate: 0.02, performance: {auc: 0.7}}
"""
)
PLAIN = AlertSettings()

Verdict = tuple[float, str, int]
"""PSI, level, n."""
STABLE: Verdict = (0.01, "stable", 5000)
MAJOR: Verdict = (0.5, "major", 5000)
UNSURE: Verdict = (0.9, "insufficient", 20)
EMPTY: Verdict = (0.0, "insufficient", 0)


def drifts(
    field: str, window: str, hours: Sequence[int], verdict: Verdict, *, delay_s: int = 7200, **values: Any
) -> list[dict[str, Any]]:
    """Verdicts on windows that end at the given hours of the history."""
    psi, level, n = verdict
    known: dict[str, Any] = {"model": "m", "version": "1", "baseline_id": "b", "slice": "all", "field": field}
    known |= {"window": window, "n": n, "psi": psi, "psi_low": psi, "psi_high": psi, "level": level}
    return [row("drift", **known | at_hour(hour, delay_s, 1 if window == "1d" else 7) | values) for hour in hours]


def at_hour(hour: int, delay_s: int, days: int) -> dict[str, int]:
    end = T0 + hour * HOUR_S
    window = {"window_start": end - days * DAY_S, "window_end": end}
    return window | {"judged_at": (end + delay_s) * 1000, "record_seq": hour}


def both(field: str, hours: Sequence[int], verdict: Verdict, **values: Any) -> list[dict[str, Any]]:
    return [*drifts(field, "1d", hours, verdict, **values), *drifts(field, "7d", hours, verdict, **values)]


def volumes(hours: Sequence[int], n: int = 100, errors: int = 0) -> list[dict[str, Any]]:
    known = {"model": "m", "version": "1", "slice": "all", "pane_s": HOUR_S, "sealed": True}
    return [row("volume", **known, pane_start=T0 + hour * HOUR_S, n=n, errors=errors, timed=n) for hour in hours]


def judged(hours: Sequence[int], delay_s: int = 7200, completeness: float = 1.0) -> list[dict[str, Any]]:
    """The rows of rates that the monitor writes for each window."""
    known: dict[str, Any] = {"model": "m", "version": "1", "slice": "all", "field": "events", "kind": "error"}
    known |= {"window": "1d", "n": 100, "level": "stable", "completeness": completeness, "delta": 0, "delta_low": 0}
    return [row("rates", **known, **at_hour(hour, delay_s, 1)) for hour in hours]


def run(
    client: Client, *names: str, until_h: int = 24 * 30, known: FactTime = "ended", contract: Contract = CONTRACT
) -> Simulation:
    rules = [rule for rule in rules_of(contract, PLAIN) if not names or rule.name in names]
    return simulate(client, rules, PLAIN, T0, T0 + until_h * HOUR_S, known)


def of(done: Simulation, name: str, severity: str | None = None) -> Replay:
    return next(each for each in done.replays if each.rule.name == name and severity in (None, each.rule.severity))


def hours_fired(replay: Replay, key: str = "") -> list[tuple[int, int | None]]:
    episodes = [each for each in replay.episodes if each.key == key]
    return [((each.start - T0) // HOUR_S, each.end and (each.end - T0) // HOUR_S) for each in episodes]


Segment = tuple[range, Verdict, Verdict, dict[str, Any]]
"""Hours, the verdicts on the long and on the short window, and other columns of the short window's or of both rows."""


def segment(first: int, end: int, long: Verdict, short: Verdict | None = None, **values: Any) -> Segment:
    return range(first, end), long, short or long, values


MIDDLE: Verdict = (0.18, "minor", 5000)
LARGE: Verdict = (0.9, "major", 5000)
COURSES: dict[str, tuple[list[Segment], list[tuple[int, int | None]]]] = {
    "long window alone": ([segment(0, 300, MAJOR, STABLE)], []),
    "short window alone": ([segment(0, 300, STABLE, MAJOR)], []),
    "short window insufficient": ([segment(0, 720, MAJOR, UNSURE)], [(0, None)]),
    "insufficient neither fires nor clears": (
        [segment(0, 100, UNSURE), segment(100, 120, MAJOR), segment(120, 300, UNSURE), segment(300, 350, STABLE)],
        [(100, 300)],
    ),
    "between the thresholds neither starts nor ends": (
        [segment(0, 100, MIDDLE), segment(100, 110, MAJOR), segment(110, 200, MIDDLE), segment(200, 220, STABLE)],
        [(100, 200)],
    ),
    "a deployment neither ends nor begins": (
        [
            *(segment(0, 100, STABLE), segment(100, 200, MAJOR)),
            *(segment(200, 300, MAJOR, version="2"), segment(300, 400, STABLE, version="2")),
        ],
        [(100, 300)],
    ),
    "a large shift pages on one window": (
        [
            *(segment(0, 100, STABLE), segment(100, 120, STABLE, LARGE, psi_low=0.4)),
            *(segment(120, 130, STABLE, LARGE, psi_low=0.6), segment(130, 140, STABLE, LARGE, psi_low=0.4)),
            segment(140, 300, STABLE, LARGE, psi_low=0.3),
        ],
        [(120, 140)],
    ),
}
"""Verdicts on a field, and the hours at which its rule fires and clears."""


def test_the_courses_of_fields_page_and_clear_at_their_hours(client: Client) -> None:
    rows = [
        each
        for field, (segments, _) in COURSES.items()
        for hours, long, short, values in segments
        for each in (
            *drifts(field, "7d", hours, long, **{name: value for name, value in values.items() if name == "version"}),
            *drifts(field, "1d", hours, short, **values),
        )
    ]
    insert_rows(client, "drift", rows)
    fields = tuple(Field(name=field, type="float", source=f"features.{field}", critical=True) for field in COURSES)
    contract = msgspec.structs.replace(CONTRACT, fields=fields)
    replay = of(run(client, "psi-major", contract=contract), "psi-major", "page")
    assert {field: hours_fired(replay, field) for field in COURSES} == {
        field: episodes for field, (_, episodes) in COURSES.items()
    }
    two_windows = changed(contract, "psi-major", {"fast_threshold": "20"})
    replay = of(run(client, "psi-major", contract=two_windows), "psi-major", "page")
    assert hours_fired(replay, "a large shift pages on one window") == []


def test_a_gap_in_traffic_is_silence_and_clears_no_alert(client: Client) -> None:
    insert_rows(client, "volume", [*volumes(range(300)), *volumes(range(300, 360), n=0), *volumes(range(360, 500))])
    insert_rows(client, "drift", [*both("temp", range(250), STABLE), *both("temp", range(250, 300), MAJOR)])
    # Windows without events have verdicts too, of level insufficient.
    insert_rows(client, "drift", [*both("temp", range(300, 360), EMPTY), *both("temp", range(360, 400), STABLE)])
    done = run(client, "silence", "psi-major")
    ((start, end),) = hours_fired(of(done, "silence"))
    assert 302 <= start <= 304
    assert end == 361
    assert hours_fired(of(done, "psi-major", "page"), "temp") == [(250, 360)], "silence cleared it"


def test_failures_page_beyond_the_objective_and_lost_events_create_a_ticket(client: Client) -> None:
    insert_rows(client, "volume", [*volumes(range(200), errors=1), *volumes(range(200, 210), errors=30)])
    insert_rows(client, "volume", volumes(range(210, 300), errors=1))
    insert_rows(client, "rates", [*judged(range(100)), *judged(range(100, 124), completeness=0.9)])
    insert_rows(client, "rates", judged(range(124, 200)))
    done = run(client, "errors", "completeness")
    ((start, end),) = hours_fired(of(done, "errors"))
    assert 201 <= start <= 203
    assert end is not None
    assert 225 < end < 240
    assert hours_fired(of(done, "completeness")) == [(100, 124)]


def scored(day: int, value: float, *, mature: bool, revised_h: int, revision: int) -> dict[str, Any]:
    known = {"model": "m", "version": "1", "slice": "all", "metric": "auc", "window": "1d", "level": "stable"}
    observed = {"value": value, "low": value - 0.02, "high": value + 0.02, "n": 500, "predictions": 900}
    when = {"window_end": T0 + day * DAY_S, "revised_at": (T0 + revised_h * HOUR_S) * 1000}
    return row("performance", **known, **observed, **when, mature=mature, revision=revision)


def test_performance_below_its_objective_fires_when_labels_are_mature(client: Client) -> None:
    rows = [scored(day, 0.5, mature=False, revised_h=day * 24 + 1, revision=1) for day in range(1, 15)]
    for day in range(1, 15):
        rows.append(scored(day, 0.6 if day == 8 else 0.8, mature=True, revised_h=(day + 3) * 24, revision=2))
    insert_rows(client, "performance", rows)
    replay = of(run(client, "performance", known="judged"), "performance")
    assert hours_fired(replay) == [((8 + 3) * 24, (9 + 3) * 24)]


def test_verdicts_and_revisions_take_effect_at_their_time_or_at_the_end_of_their_window(client: Client) -> None:
    late = {"delay_s": 4 * HOUR_S}
    insert_rows(client, "drift", [*both("temp", range(100), STABLE), *both("temp", range(100, 150), MAJOR, **late)])
    insert_rows(client, "drift", both("temp", range(150, 200), STABLE))
    # A revision of the last window.
    insert_rows(client, "drift", both("temp", [199], MAJOR, record_seq=10_000, **late))
    begun: dict[FactTime, list[int]] = {"ended": [100, 199], "judged": [104, 203]}
    for known, first_hours in begun.items():
        replay = of(run(client, "psi-major", known=known), "psi-major", "page")
        assert [start for start, _ in hours_fired(replay, "temp")] == first_hours, known


def test_a_backtest_reports_the_effect_of_a_change(client: Client) -> None:
    weak: Verdict = (0.22, "major", 5000)
    rows = [*both("temp", range(100), STABLE), *both("temp", range(100, 120), weak)]
    rows += [*both("temp", range(120, 300), STABLE), *both("temp", range(300, 330), MAJOR)]
    insert_rows(client, "drift", [*rows, *both("temp", range(330, 500), STABLE)])
    incidents = [KnownIncident(T0 + h * HOUR_S, T0 + end * HOUR_S) for h, end in ((299, 330), (400, 410))]
    done = backtest(
        client, [CONTRACT], PLAIN, "psi-major", {"threshold": "0.25"}, T0, T0 + 500 * HOUR_S, "ended", incidents
    )
    assert (len(done.present.episodes), len(done.changed.episodes), done.only_changed) == (2, 1, [])
    assert [(each.start - T0) // HOUR_S for each in done.only_present] == [100]
    assert [*done.present.detected_s] == [pytest.approx(HOUR_S, abs=900), None]
    assert (done.present.outside, done.changed.outside) == (1, 0)
    first = done.present.episodes[0]
    other = replace(first, rule=replace(first.rule, part="other"))
    two, one = (replace(done.present, episodes=each) for each in ((first, other), (first,)))
    assert Backtest(two, one).only_present == [other]


def test_invalid_changes_are_rejected(client: Client) -> None:
    errors = {
        ("psi-majr",): "'psi-majr' is not a rule; did you mean psi-major?",
        ("psi-major", "treshold=1"): "the key 'treshold' is unknown; did you mean threshold?",
        ("psi-major", "threshold=0.1", "clear=0.2"): "0.2 is above the threshold (0.1)",
        ("psi-major", "long=3d"): "no window of this contract has this length; write one of 1d, 7d",
        ("latency",): "the rule has no threshold; write slo.latency_ms",
    }
    for (name, *words), error in errors.items():
        changes = dict(word.split("=") for word in words)
        with pytest.raises((AlertsError, ContractError), match=re.escape(error)):
            backtest(client, [CONTRACT], PLAIN, name, changes, T0, T0 + DAY_S, "ended")


def test_changes_override_the_alerts_of_the_contract() -> None:
    contract = parse_contract(dump_contract(CONTRACT) + "alerts: {rules: {psi-major: {for: 10m, threshold: 0.4}}}\n")
    rule = changed(contract, "psi-major", {"threshold": "0.3", "short": "7d"}).alerts.rule("psi-major")
    assert (rule.for_s, rule.threshold, rule.short_s, rule.long_s) == (600, 0.3, 7 * DAY_S, None)


def connect_commands(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("host", "port", "database", "password"):
        monkeypatch.setenv(f"BAROGRAPH_CLICKHOUSE_{name.upper()}", str(getattr(address, name)))


COMMANDS = parse_contract(
    "contract: 1\nmodel: m\npane: 1h\nlateness: 1h\nwindows: [{length: 1d, hop: 1h}, {length: 7d, hop: 1h}]\n"
    "fields: {temp: {type: float, critical: true}}\nlabel: {type: bool, positive: true}\nalerts: {rules: {"
    + ", ".join(f"{name}: {{severity: none}}" for name in ("errors", "silence", "null-rate", "range-rate"))
    + "}}"
)
"""A contract with few rules: a command evaluates all of them over the whole history."""


@pytest.fixture(scope="module")
def history(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        add_row(client, "contracts", model="m", yaml=dump_contract(COMMANDS), applied_at=1)
        insert_rows(client, "rates", judged(range(500), delay_s=3 * DAY_S))
        rows = [*both("temp", range(200), STABLE), *both("temp", range(200, 260), MAJOR)]
        insert_rows(client, "drift", [*rows, *both("temp", range(260, 500), STABLE)])
        yield client


@pytest.fixture
def applied(history: Client, engine: LocalClickHouse, monkeypatch: pytest.MonkeyPatch) -> Client:
    connect_commands(engine.address(history.database), monkeypatch)
    return history


def test_simulate_prints_states_and_messages(applied: Client, output_of: OutputOf) -> None:
    selected = ("simulate", "--model", "m", "--rule", "psi-major")
    out = output_of(0, *selected, "--each")
    short = output_of(0, *selected).splitlines()
    assert set(short) - set(out.splitlines()) == {line for line in short if "--each lists them" in line} != set()
    assert not [line for line in short if "Pending" in line or "→" in line]
    incidents, _, states = out.partition("\n\n")
    lines = [line for line in states.splitlines() if "temp" in line]
    fired = datetime.fromtimestamp(T0 + 200 * HOUR_S, UTC)
    assert lines[0].startswith(f"{fired:%Y-%m-%d %H:%M}  Pending     page    m: inputs drift (page)  temp")
    assert any("→ barograph  model=m, cause=drift: firing psi-major of temp" in line for line in lines)
    assert "verdicts take effect at the end of their windows, since this history was replayed" in out
    opened, (closed, *_) = incidents.splitlines()[1], [line for line in lines if "Normal" in line]
    assert opened.split()[:2] == f"{fired + timedelta(minutes=10):%Y-%m-%d %H:%M}".split()
    assert opened.split()[2:4] == closed.split()[:2]
    assert opened.split()[4:] == ["page", "m", "drift", "of", "temp", "psi-major", "1"]
    assert "would have paged 1 incident (1 firing instance)" in out


def test_simulate_writes_json(applied: Client, output_of: OutputOf) -> None:
    result = json.loads(output_of(0, "simulate", "--since", "40d", "--known", "judged", "--format", "json"))
    assert result["known"] == "judged"
    states = [each for rule in result["rules"] if rule["name"] == "psi-major" for each in rule["transitions"]]
    assert [each["after"] for each in states] == ["Pending", "Alerting", "Recovering", "Normal"]
    assert result["pages_per_week"] > 0
    (incident,) = [each for each in result["incidents"] if each["title"] == "drift of temp"]
    assert (incident["severity"], incident["paged_at"]) == ("page", incident["opened_at"])
    members = sorted((each["name"], each["severity"]) for each in incident["members"])
    assert members == [("psi-major", "page"), ("psi-minor", "ticket")]


def test_a_missing_processor_is_an_incident_of_the_pipeline(client: Client, engine: LocalClickHouse) -> None:
    """As `barograph dev` lists it: the rule has no model."""
    add_row(client, "contracts", model="m", yaml=dump_contract(COMMANDS), applied_at=1)
    insert_rows(client, "rates", judged(range(500)))
    add_row(client, "processors", kind="sketcher", at=(T0 + 490 * HOUR_S) * 1000)
    settings = Settings(warehouse=engine.address(client.database))
    listed = open_incidents(settings, T0 * 1000, (T0 + 500 * HOUR_S) * 1000)
    titles = [incident["title"] for incident in listed if "processor gone" in incident["title"]]
    assert titles == ["Pipeline: processor gone of sketcher"]


def test_invalid_arguments_are_reported(applied: Client, output_of: OutputOf) -> None:
    change = ("backtest", "--rule", "psi-major", "--set")
    for words, message in (
        (("simulate", "--model", "x"), "has no contract of 'x'; there are m."),
        (("simulate", "--rule", "x"), "these contracts have no such rule; they have psi-major"),
        (("simulate", "--since", "soon"), "--since soon is neither a time such as 2026-03-01 nor an age"),
        (("simulate", "--live", "--since", "1d"), "--live evaluates the present"),
        ((*change, "for=1m", "--incident", "x"), "--incident x is not a range"),
        ((*change, "for=1m", "--incidents", "/no/file"), "cannot be read"),
    ):
        assert message in " ".join(output_of(1, *words).split()), words


def test_marked_incidents_are_read(applied: Client, output_of: OutputOf, tmp_path: Path) -> None:
    file = tmp_path / "incidents.yaml"
    start, end = (datetime.fromtimestamp(T0 + hour * HOUR_S, UTC).isoformat() for hour in (199, 260))
    file.write_text(f"- {{name: heat, from: '{start}', to: '{end}'}}\n")
    words = ["backtest", "--rule", "psi-major", "--set", "for=2h", "--since", "40d", "--incidents", str(file)]
    heat = next(line for line in output_of(0, *words).splitlines() if "heat" in line)
    assert heat.split() == ["time", "to", "detect", "heat", "1h", "10m", "3h"]
    file.write_text("- {name: heat, begin: 1}\n")
    assert "entry 1: write name, from and to" in " ".join(output_of(1, *words).split())


def test_missing_contracts_and_history_are_reported(
    client: Client, engine: LocalClickHouse, monkeypatch: pytest.MonkeyPatch, output_of: OutputOf
) -> None:
    connect_commands(engine.address(client.database), monkeypatch)
    assert "No contract is applied" in output_of(1, "simulate")
    add_row(client, "contracts", model="m", yaml=dump_contract(CONTRACT), applied_at=1)
    missing = "There is no history: no window of these models has a verdict yet"
    assert missing in " ".join(output_of(1, "simulate").split())


def test_status_shows_open_incidents_or_why_none_is_known(applied: Client, output_of: OutputOf) -> None:
    insert_rows(applied, "drift", both("temp", range(480, 500), MAJOR, record_seq=20_000))
    out = output_of(0, "status")
    assert "open, by the alert rules over the last 30 days" in out
    (line,) = [line for line in out.splitlines() if "drift of temp" in line]
    assert line.split()[2:6] == ["still", "firing", "page", "m"]
    result = json.loads(output_of(0, "status", "--format", "json"))
    # The earlier incident of this field is closed.
    (incident,) = [each for each in result["incidents"] if each["title"] == "drift of temp"]
    assert (incident["severity"], incident["end"], result["incidents_problem"]) == ("page", None, "")
    applied.command("DROP VIEW label_times")
    out = output_of(0, "status")
    # The rest of the status is printed.
    for text in ("Open incidents are unknown: ", "label_times", "No processor has reported"):
        assert text in out
