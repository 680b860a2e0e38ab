"""The pager: what the alert rules of the contract would have done, replayed over the demo's own verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from alerts import AlertSettings, rules_for
from alerts.simulator import simulate
from cli.contracts import contracts_in_force
from cli.demo.expectation import Expectation
from cli.demo.flights import MODEL, PLANE, ROUTE, SCHEDULE, WEATHER, Calendar
from cli.demo.report import ON_DEMO, Reporter, day_of, joined
from cli.demo.signals.inputs import DRIFTING
from warehouse.client import Client

PSI, NULLS = "psi-major", "null-rate"
BEGIN = datetime(2013, 8, 1, tzinfo=UTC)
EARLIEST, LATEST = date(2013, 9, 15), date(2013, 9, 30)
OUTAGE = date(2013, 12, 30), date(2014, 1, 1)
"""The weather data end late on 30 December in New York; its alert waits until a day window is mostly without."""


@dataclass(frozen=True, slots=True)
class Paged:
    """One alert that paged, from when it fired until it was resolved."""

    rule: str
    instance: str
    """A field; empty for rules about the model as a whole."""
    begin: datetime
    """Of 2013."""
    end: datetime | None
    """None: it still fired at the end."""


@dataclass(frozen=True, slots=True)
class Pager:
    """What paged."""

    rules: int
    """How many rules were replayed, tickets too."""
    watched: Sequence[str]
    """The fields that the rule on drift pages for."""
    pages: Sequence[Paged]
    """In order of their beginning."""

    def of(self, rule: str, fields: Sequence[str] = ()) -> list[Paged]:
        """The pages of a rule, of some fields or of all."""
        return [page for page in self.pages if page.rule == rule and (not fields or page.instance in fields)]


def read_pager(client: Client, calendar: Calendar, record_end: datetime) -> Pager:
    """Replay the rules as Grafana would have evaluated them; arguments as `read_volume` has them."""
    settings = AlertSettings()
    rules = rules_for(contracts_in_force(client, MODEL), settings)
    since, until = (int(at.timestamp()) for at in (calendar.replayed(BEGIN), record_end))
    done = simulate(client, rules, settings, since, until, "ended")

    def original(at_s: int) -> datetime:
        return calendar.original(datetime.fromtimestamp(at_s, UTC))

    paging = [each for each in done.replays if each.rule.severity == "page"]
    pages = [
        Paged(
            each.rule.name, episode.key, original(episode.start), None if episode.end is None else original(episode.end)
        )
        for each in paging
        for episode in each.episodes
    ]
    watched = [key for each in paging if each.rule.name == PSI for key in each.rule.signal.keys]
    return Pager(len(rules), watched, sorted(pages, key=lambda page: page.begin))


def tell_pager(say: Reporter, found: Pager) -> None:
    """Print it."""
    say.signal("The pager", "what its contract's alert rules would have done")
    say.paragraph(
        f"{found.rules} rules, replayed over these five months as Grafana evaluates them: pending, hysteresis and all. "
        f"Those that page did so {len(found.pages)} times; dates are of 2013."
    )
    by_alert: dict[tuple[str, str], list[Paged]] = {}
    for page in found.pages:
        by_alert.setdefault((page.rule, page.instance), []).append(page)
    rows = [
        (rule, instance or MODEL, day_of(pages[0].begin), _until(pages[-1]), f"{len(pages)}")
        for (rule, instance), pages in by_alert.items()
    ]
    if rows:
        say.table(("rule", "of", "fires first", "resolved last", "times"), rows, numbers={4})
    say.line(f"  {ON_DEMO} simulate --since 150d", "cyan")


def _until(page: Paged) -> str:
    return "fires at the end" if page.end is None else day_of(page.end)


def expect_pager(found: Pager) -> Iterator[Expectation]:
    """Hold it to what is known of these flights."""
    psi = found.of(PSI)
    early = [page for page in found.pages if page.begin.date() < date(2013, 9, 1)]
    yield Expectation("nobody is paged in August", not early, _named(early))
    first = min((page.begin.date() for page in found.of(PSI, DRIFTING)), default=None)
    yield Expectation(
        f"{joined(DRIFTING)} page first between {EARLIEST:%d} and {LATEST:%d} September",
        first is not None and EARLIEST <= first <= LATEST,
        "never" if first is None else day_of(first),
    )
    steady = (*SCHEDULE, *PLANE, *ROUTE)
    wrong = [page for page in psi if page.instance in steady]
    missing = [field for field in steady if field not in found.watched]
    yield Expectation(
        f"the {len(steady)} fields of schedule, plane and route are watched and never page for drift",
        not wrong and not missing,
        _named(wrong) if not missing else f"not watched: {joined(missing)}",
    )
    outage = [page.instance for page in found.of(NULLS, WEATHER) if OUTAGE[0] <= page.begin.date() <= OUTAGE[1]]
    yield Expectation(
        "the missing weather of 31 December pages",
        set(DRIFTING) <= set(outage),
        joined(outage) or "nobody",
    )


def _named(pages: Sequence[Paged]) -> str:
    return joined(f"{page.rule} {page.instance}, {day_of(page.begin)}" for page in pages) or "nobody"
