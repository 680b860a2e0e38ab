"""Pages: the alert rules of the contract, replayed over the demo's verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from alerts import AlertSettings, rules_for
from alerts.simulator import simulate
from cli.contracts import contracts_in_force
from cli.demo.expectation import DemoExpectation
from cli.demo.flights import MODEL, PLANE, ROUTE, SCHEDULE, WEATHER, Calendar
from cli.demo.report import ON_DEMO, DemoReport, day_of, joined
from cli.demo.signals.inputs import DRIFTING
from warehouse.client import Client

PSI, NULLS = "psi-major", "null-rate"
BEGIN = datetime(2013, 8, 1, tzinfo=UTC)
EARLIEST, LATEST = date(2013, 9, 15), date(2013, 9, 30)
OUTAGE = date(2013, 12, 30), date(2014, 1, 1)
"""The weather data end late on 30 December in New York. The alert fires when most of a day window has no weather."""


@dataclass(frozen=True, slots=True)
class SentPage:
    """One page, from firing to resolution."""

    rule: str
    instance: str
    """A field; empty for rules about the whole model."""
    begin: datetime
    """In 2013."""
    end: datetime | None
    """None if it still fired at the end."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Findings about pages."""

    rules: int
    """Number of replayed rules, including ticket rules."""
    watched: Sequence[str]
    """Fields for which the drift rule pages."""
    pages: Sequence[SentPage]
    """In order of their start."""

    def of(self, rule: str, fields: Sequence[str] = ()) -> list[SentPage]:
        """Pages of a rule, for some fields or all."""
        return [page for page in self.pages if page.rule == rule and (not fields or page.instance in fields)]


def read_pages(client: Client, calendar: Calendar, record_end: datetime) -> Pages:
    """Replay the rules as Grafana would evaluate them; arguments as for `read_volume`."""
    settings = AlertSettings()
    rules = rules_for(contracts_in_force(client, MODEL), settings)
    since, until = (int(at.timestamp()) for at in (calendar.replayed(BEGIN), record_end))
    done = simulate(client, rules, settings, since, until, "ended")

    def original(at_s: int) -> datetime:
        return calendar.original(datetime.fromtimestamp(at_s, UTC))

    paging = [each for each in done.replays if each.rule.severity == "page"]
    pages = [
        SentPage(
            each.rule.name, episode.key, original(episode.start), None if episode.end is None else original(episode.end)
        )
        for each in paging
        for episode in each.episodes
    ]
    watched = [key for each in paging if each.rule.name == PSI for key in each.rule.signal.keys]
    return Pages(len(rules), watched, sorted(pages, key=lambda page: page.begin))


def report_pager(report: DemoReport, findings: Pages) -> None:
    """Print the findings."""
    report.signal("The pager", "the contract's alert rules, replayed over these months")
    report.paragraph(
        f"{findings.rules} rules would have paged {len(findings.pages)} times in five months, evaluated as in Grafana "
        "with pending periods and hysteresis. Dates are in 2013."
    )
    by_alert: dict[tuple[str, str], list[SentPage]] = {}
    for page in findings.pages:
        by_alert.setdefault((page.rule, page.instance), []).append(page)
    rows = [
        (rule, instance or MODEL, day_of(pages[0].begin), _until(pages[-1]), f"{len(pages)}")
        for (rule, instance), pages in by_alert.items()
    ]
    if rows:
        report.table(("rule", "field", "first fired", "last resolved", "pages"), rows, numbers={4})
    report.line(f"  {ON_DEMO} simulate --since 150d", "cyan")


def _until(page: SentPage) -> str:
    return "still firing" if page.end is None else day_of(page.end)


def expect_pages(findings: Pages) -> Iterator[DemoExpectation]:
    """Compare the findings with known facts about these flights."""
    psi = findings.of(PSI)
    early = [page for page in findings.pages if page.begin.date() < date(2013, 9, 1)]
    yield DemoExpectation("no page in August", not early, _named(early))
    first = min((page.begin.date() for page in findings.of(PSI, DRIFTING)), default=None)
    yield DemoExpectation(
        f"{joined(DRIFTING)} first page between {EARLIEST:%d} and {LATEST:%d} September",
        first is not None and EARLIEST <= first <= LATEST,
        "never" if first is None else day_of(first),
    )
    steady = (*SCHEDULE, *PLANE, *ROUTE)
    wrong = [page for page in psi if page.instance in steady]
    missing = [field for field in steady if field not in findings.watched]
    yield DemoExpectation(
        f"the {len(steady)} fields of schedule, plane and route are monitored and never page for drift",
        not wrong and not missing,
        _named(wrong) if not missing else f"not monitored: {joined(missing)}",
    )
    outage = [page.instance for page in findings.of(NULLS, WEATHER) if OUTAGE[0] <= page.begin.date() <= OUTAGE[1]]
    yield DemoExpectation(
        "the missing weather of 31 December pages",
        set(DRIFTING) <= set(outage),
        joined(outage) or "none",
    )


def _named(pages: Sequence[SentPage]) -> str:
    return joined(f"{page.rule} {page.instance}, {day_of(page.begin)}" for page in pages) or "none"
