"""Pages: the alert rules of the contract, replayed over the demo's verdicts, and the incidents that they form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from barograph_server.alerts import AlertSettings, rules_for
from barograph_server.alerts.simulator import simulate
from barograph_server.contracts import contracts_in_force
from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.flights import MODEL, PLANE, ROUTE, SCHEDULE, WEATHER, Calendar
from barograph_server.examples.demo.report import DemoReport, day_of, joined
from barograph_server.examples.demo.signals.inputs import DRIFTING
from barograph_server.terminal import plural
from barograph_server.warehouse.client import Client

PSI, NULLS = "psi-major", "null-rate"
BEGIN = datetime(2013, 8, 1, tzinfo=UTC)
EARLIEST, LATEST = date(2013, 9, 15), date(2013, 9, 30)
OUTAGE = date(2013, 12, 30), date(2014, 1, 1)
"""The weather data end late on 30 December in New York. The alert fires when most of a day window has no weather."""
MAX_INCIDENTS = 4
"""Autumn, performance, and missing values on two occasions. Their paging instances fire 23 times."""


@dataclass(frozen=True, slots=True)
class FiringPeriod:
    """One period in which an instance of a paging rule fired."""

    rule: str
    instance: str
    """A field; empty for rules about the whole model."""
    begin: datetime
    """In 2013."""
    end: datetime | None
    """None if it still fired at the end."""


@dataclass(frozen=True, slots=True)
class PagedIncident:
    """One incident that paged."""

    title: str
    begin: datetime
    """When it paged, in 2013."""
    end: datetime | None
    """When its last instance stopped firing; None if one still fired at the end."""
    instances: Sequence[tuple[str, str]]
    """Rules and fields of its instances, of tickets too."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Findings about pages."""

    rules: int
    """Number of replayed rules, including ticket rules."""
    watched: Sequence[str]
    """Fields for which the drift rule pages."""
    periods: Sequence[FiringPeriod]
    """In order of their start."""
    incidents: Sequence[PagedIncident]
    """In order of their page."""

    def fields_of(self, incident: PagedIncident, rule: str) -> list[str]:
        """Fields for which a rule fired in an incident."""
        return [field for name, field in incident.instances if name == rule]


def read_pages(client: Client, calendar: Calendar, record_end: datetime) -> Pages:
    """Replay the rules as Grafana would evaluate them; arguments as for `read_volume`."""
    settings = AlertSettings()
    rules = rules_for(contracts_in_force(client, MODEL), settings)
    since, until = (int(at.timestamp()) for at in (calendar.replayed(BEGIN), record_end))
    done = simulate(client, rules, settings, since, until, "ended")

    def original(at_s: int) -> datetime:
        return calendar.original(datetime.fromtimestamp(at_s, UTC))

    paging = [each for each in done.replays if each.rule.severity == "page"]
    periods = [
        FiringPeriod(
            each.rule.name, episode.key, original(episode.start), None if episode.end is None else original(episode.end)
        )
        for each in paging
        for episode in each.episodes
    ]
    incidents = [
        PagedIncident(
            each.title,
            original(each.paged_at),
            None if each.end is None else original(each.end),
            [(member.rule.name, member.key) for member in each.members.values()],
        )
        for each in done.incidents
        if each.paged_at is not None
    ]
    watched = [key for each in paging if each.rule.name == PSI for key in each.rule.signal.keys]
    return Pages(
        len(rules),
        watched,
        sorted(periods, key=lambda period: period.begin),
        sorted(incidents, key=lambda incident: incident.begin),
    )


def report_pager(report: DemoReport, findings: Pages) -> None:
    """Print the findings."""
    report.signal("The pager", "the contract's alert rules, replayed over these months")
    report.paragraph(
        f"{findings.rules} rules would have paged {plural(len(findings.incidents), 'incident')} in five months, "
        "evaluated as in Grafana with pending periods and hysteresis. An incident is one cause in one model. Dates are "
        "in 2013."
    )
    if not findings.incidents:
        return
    incidents = [(each.title, day_of(each.begin), _until(each.end)) for each in findings.incidents]
    report.table(("incident", "paged", "resolved"), incidents)
    by_alert: dict[tuple[str, str], list[FiringPeriod]] = {}
    for period in findings.periods:
        by_alert.setdefault((period.rule, period.instance), []).append(period)
    report.paragraph(f"Their paging instances fired {plural(len(findings.periods), 'time')}:")
    rows = [
        (rule, instance or MODEL, day_of(periods[0].begin), _until(periods[-1].end), f"{len(periods)}")
        for (rule, instance), periods in by_alert.items()
    ]
    report.table(("rule", "field", "first fired", "last resolved", "fired"), rows, numbers={4})
    report.line(f"  {report.command} simulate --since 150d", "cyan")


def _until(end: datetime | None) -> str:
    return "still firing" if end is None else day_of(end)


def expect_pages(findings: Pages) -> Iterator[DemoExpectation]:
    """Compare the findings with known facts about these flights."""
    yield DemoExpectation(
        f"at most {MAX_INCIDENTS} incidents page",
        len(findings.incidents) <= MAX_INCIDENTS,
        f"{len(findings.incidents)}, with {len(findings.periods)} firing instances",
    )
    early = [each for each in findings.incidents if each.begin.date() < date(2013, 9, 1)]
    yield DemoExpectation("no page in August", not early, _named(early))
    drifts = [each for each in findings.incidents if set(DRIFTING) & set(findings.fields_of(each, PSI))]
    first = min((each.begin.date() for each in drifts), default=None)
    yield DemoExpectation(
        f"{joined(DRIFTING)} first page between {EARLIEST:%d} and {LATEST:%d} September",
        first is not None and EARLIEST <= first <= LATEST,
        "never" if first is None else day_of(first),
    )
    steady = (*SCHEDULE, *PLANE, *ROUTE)
    wrong = [each for each in findings.periods if each.rule == PSI and each.instance in steady]
    missing = [field for field in steady if field not in findings.watched]
    yield DemoExpectation(
        f"the {len(steady)} fields of schedule, plane and route are monitored and never page for drift",
        not wrong and not missing,
        joined(f"{each.instance}, {day_of(each.begin)}" for each in wrong) or "none"
        if not missing
        else f"not monitored: {joined(missing)}",
    )
    outages = [each for each in findings.incidents if OUTAGE[0] <= each.begin.date() <= OUTAGE[1]]
    fields = [field for each in outages for field in findings.fields_of(each, NULLS) if field in WEATHER]
    yield DemoExpectation(
        "the missing weather of 31 December pages, as an incident of its own",
        any(set(DRIFTING) <= set(findings.fields_of(each, NULLS)) for each in outages),
        joined(fields) or "none",
    )


def _named(incidents: Sequence[PagedIncident]) -> str:
    return joined(f"{each.title}, {day_of(each.begin)}" for each in incidents) or "none"
