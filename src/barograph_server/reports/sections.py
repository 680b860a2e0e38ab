"""The sections of the report, which HTML and Markdown write in their own ways. All texts are unescaped."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from barograph.contract import Contract

from barograph_server.alerts.rule import Severity
from barograph_server.batch.compare.report import HEADLINE_METRICS, SEVERITY
from barograph_server.batch.compare.wording import interval, number
from barograph_server.governance.debt.run_checks import run_checks
from barograph_server.grafana.errors import GrafanaError
from barograph_server.reports.weekly_report import FieldWeek, MetricWindow, WeekFacts, WeeklyReport
from barograph_server.settings import Settings
from barograph_server.terminal import listed, percentage, plural, ratio
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseError

MAX_FIELDS = 15
"""Verdicts that a table lists, the worst first."""
MAX_METRICS = 40
"""Windows of metrics that the table lists."""
SEVERITIES: tuple[Severity, ...] = ("page", "ticket")
LEVEL = "level"
"""Heading of the columns that hold levels."""


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A heading, sentences, and a table; without rows there is no table."""

    title: str
    lines: Sequence[str]
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    numbers: Sequence[int] = ()
    """Indices of the columns that are aligned to the right."""


def report_sections(report: WeeklyReport) -> list[ReportSection]:
    sections = [
        _comparison(report), _incidents(report), _volume(report), _served(report), _fields(report, "Inputs"),
        _fields(report, "Outputs"), _slices(report), _performance(report), _changes(report), _drills(report),
    ]  # fmt: skip
    if report.limits:
        sections.insert(0, ReportSection("What limits the answer", report.limits))
    if report.debts:
        sections.append(ReportSection("Debts", report.debts))
    return sections


def local_minute(report: WeeklyReport, at: datetime) -> str:
    """Write a time to the minute, in the time zone of the model."""
    return f"{at.astimezone(ZoneInfo(report.week.zone)):%a %Y-%m-%d %H:%M}"


def report_head(report: WeeklyReport) -> str:
    """Say whose model it is, and which days and contract the report is about."""
    owners = ", ".join(filter(None, (report.team, *report.owners))) or "no owner in the contract"
    days = f"{local_minute(report, report.week.start)} to {local_minute(report, report.week.end)}"
    return f"{owners}. {days} ({report.week.zone}). Contract {report.contract_id}."


def _rate(part: int, whole: int) -> str:
    return ratio(part, whole) if whole else "unknown"


def _comparison(report: WeeklyReport) -> ReportSection:
    def cells(facts: WeekFacts) -> Iterator[str]:
        n = facts.total("predictions")
        yield f"{n:,}"
        yield _rate(facts.total("errors"), n)
        yield _rate(facts.total("slow"), facts.total("timed"))
        yield f"{facts.latency[2]:.4g} ms" if facts.latency else "unknown"
        yield str(len(facts.major_fields)) if facts.verdicts else "unknown"
        yield _rate(facts.labelled[1], facts.labelled[0])
        for severity in SEVERITIES:
            yield "unknown" if facts.incidents is None else str(facts.incidents_of(severity))
        yield f"{sum(drill.passed for drill in facts.drills)} of {len(facts.drills)}" if facts.drills else "none"

    names = (
        "predictions", "failed", "slower than the SLO", "highest p99 of latency", "fields with a major change",
        "predictions with a label", "incidents that page", "incidents that open tickets", "drills passed",
    )  # fmt: skip
    rows = list(zip(names, cells(report.facts), cells(report.before), strict=True))
    return ReportSection("Compared with the week before", (), ("", "this week", "week before"), rows, (1, 2))


def _volume(report: WeeklyReport) -> ReportSection:
    facts = report.facts
    if not facts.days:
        return ReportSection("Volume", ("No pane of the week has been counted.",))
    lines = [f"{plural(facts.total('predictions'), 'prediction')} in {facts.hours:g} counted hours."]
    if facts.total("late"):
        lines.append(f"{plural(facts.total('late'), 'prediction')} arrived late, and are included.")
    if facts.latency:
        p50, p95, p99 = (f"{value:.4g}" for value in facts.latency)
        lines.append(f"Latency, highest of all windows: p50 {p50} ms, p95 {p95} ms, p99 {p99} ms.")
    elif facts.total("timed"):
        lines.append("Quantiles of latency are unknown: latency is not a field of the contract, or no window has them.")
    else:
        lines.append("No latency was published.")
    rows = [
        (d.day, f"{d.predictions:,}", f"{d.errors:,}", _rate(d.errors, d.predictions), _rate(d.slow, d.timed))
        for d in facts.days
    ]
    return ReportSection(
        "Volume", lines, ("day", "predictions", "failed", "failed share", "slow share"), rows, (1, 2, 3, 4)
    )


def _served(report: WeeklyReport) -> ReportSection:
    whole = report.facts.total("predictions")
    rows = [
        (each.version, each.slice.removeprefix("arm=") if each.slice != "all" else "", f"{each.predictions:,}",
         _rate(each.predictions, whole), _rate(each.errors, each.predictions))
        for each in report.facts.served
    ]  # fmt: skip
    lines = () if rows else ("No version served predictions.",)
    return ReportSection(
        "Versions and arms", lines, ("version", "arm", "predictions", "share", "failed"), rows, (2, 3, 4)
    )


def _fields(report: WeeklyReport, title: str) -> ReportSection:
    verdicts = [each for each in report.facts.verdicts if (each.field in report.inputs) == (title == "Inputs")]
    if not verdicts:
        return ReportSection(title, (f"There is no verdict on {title.lower()} in the week.",))

    def severity(each: FieldWeek) -> tuple[int, bool, float]:
        return SEVERITY[each.level], each.what == "psi", -math.inf if math.isnan(each.value) else each.value

    worst: dict[tuple[str, str, str], FieldWeek] = {}
    for each in sorted(verdicts, key=severity, reverse=True):
        worst.setdefault((each.field, each.what, each.version), each)
    shown = [each for each in worst.values() if each.what == "psi" or each.level in ("minor", "major")][:MAX_FIELDS]
    levels = [each.level for each in worst.values()]
    counts = ", ".join(f"{levels.count(level)} {level}" for level in reversed(SEVERITY))
    lines = [
        f"{plural(len(worst), 'measure')} by their worst level in the windows that ended in the week: {counts}.",
        "A measure is PSI, or the rate of a kind of value compared with training, with a 95 % interval.",
    ]
    if len(shown) < len(worst):
        lines.append(f"The table shows {plural(len(shown), 'measure')}, each in its worst window; JSON has all.")
    rows = [
        (each.field, each.what, each.version, each.window, each.level, _change(each), _ends(each),
         number(each.hours_major, 0), "" if each.major_since is None else local_minute(report, each.major_since),
         f"{each.insufficient} of {each.windows}" + (f" ({each.reason})" if each.insufficient else ""))
        for each in shown
    ]  # fmt: skip
    columns = (
        "field", "measure", "version", "window", LEVEL, "worst", "interval", "hours major", "major at least since",
        "insufficient",
    )  # fmt: skip
    return ReportSection(title, lines, columns, rows, (5, 6, 7))


def _change(each: FieldWeek) -> str:
    if each.what == "psi" or math.isnan(each.value):
        return number(each.value)
    return f"{percentage(each.training_rate, 2)} → {percentage(each.rate, 2)}"


def _ends(each: FieldWeek) -> str:
    if each.what == "psi" or math.isnan(each.value):
        return interval(each.low, each.high)
    return f"{100 * each.low:+.2f} to {100 * each.high:+.2f} points"


def _performance(report: WeeklyReport) -> ReportSection:
    facts = report.facts
    if not report.has_label:
        return ReportSection("Performance", ("The contract has no label, so performance is not measured.",))
    if not facts.labelled[1]:
        return ReportSection("Performance", ("No labels have arrived for the predictions of the week.",))
    read, labelled = facts.labelled
    lines = [f"{labelled:,} of {read:,} predictions have a label ({_rate(labelled, read)})."]
    if not facts.metrics:
        return ReportSection("Performance", [*lines, "No window that ended in the week has been measured."])
    shown = [
        each
        for each in facts.metrics
        if each.level == "major" or (each.window == report.window and each.metric in HEADLINE_METRICS)
    ][:MAX_METRICS]
    if len(shown) < len(facts.metrics):
        lines.append(f"The table has windows of {report.window}, and major ones of other lengths; JSON has all.")
    rows = [
        (each.metric, each.version, each.window, local_minute(report, each.window_end), each.level, number(each.value),
         interval(each.low, each.high), number(each.promise), number(each.reference), f"{each.n:,}",
         _maturity(each))
        for each in shown
    ]  # fmt: skip
    columns = (
        "metric", "version", "window", "window end", LEVEL, "value", "95 % interval", "objective", "reference",
        "labels", "maturity",
    )  # fmt: skip
    return ReportSection("Performance", lines, columns, rows, (5, 6, 7, 8, 9))


def _maturity(each: MetricWindow) -> str:
    if each.mature or math.isnan(each.maturity):
        return "mature" if each.mature else "unknown"
    return f"{percentage(each.maturity)} of its labels"


def _incidents(report: WeeklyReport) -> ReportSection:
    title, incidents = "Incidents", report.facts.incidents
    if incidents is None:
        return ReportSection(title, (f"Incidents are unknown: {report.facts.incidents_problem}.",))
    if not incidents:
        return ReportSection(title, ("No alert rule of the contract in force fires in the week.",))
    lines = [
        "What the alert rules of the contract in force fire. An action is a change during the incident or in the "
        "24 hours after it."
    ]
    if report.was_replayed:
        lines.append("History was replayed: incidents have event time, changes of the contract the time of the replay.")
    rows = [
        (each.severity, ("before " if each.is_older else "") + local_minute(report, each.opened_at),
         "open at the end of the week" if each.closed_at is None else local_minute(report, each.closed_at), each.title,
         "; ".join(change.title for change in each.actions) or "no action recorded")
        for each in sorted(incidents, key=lambda each: SEVERITIES.index(each.severity))
    ]  # fmt: skip
    return ReportSection(title, lines, ("severity", "opened", "closed", "incident", "action"), rows)


def _slices(report: WeeklyReport) -> ReportSection:
    slices = report.facts.major_slices
    rows = [(each.slice, str(each.verdicts), listed(each.measures)) for each in slices[:MAX_FIELDS]]
    lines = [f"{plural(len(slices), 'slice')} had a major change of an input, an output or a metric."]
    return ReportSection("Slices", lines, ("slice", "major verdicts", "of"), rows, (1,))


def _changes(report: WeeklyReport) -> ReportSection:
    rows = [
        (local_minute(report, each.changed_at), each.kind, each.model or "any", each.subject,
         each.versions, each.source, each.owner or each.changed_by, each.reason)
        for each in report.facts.changes
    ]  # fmt: skip
    lines = () if rows else ("No change was recorded in the week.",)
    columns = ("time", "kind", "model", "subject", "from → to", "source", "owner", "reason")
    return ReportSection("Changes", lines, columns, rows)


def _drills(report: WeeklyReport) -> ReportSection:
    rows = [
        (local_minute(report, each.at), each.fault, each.field, each.mode, "passed" if each.passed else "failed",
         each.missed)
        for each in report.facts.drills
    ]  # fmt: skip
    lines = () if rows else ("No drill ended in the week.",)
    return ReportSection("Drills", lines, ("time", "fault", "field", "mode", "result", "observed instead"), rows)


WITH_VALUES = frozenset({"constant field"})
"""Kinds of findings whose reason has a value of predictions, which a report must not have."""


def debt_lines(settings: Settings, client: Client, contract: Contract, at: datetime) -> tuple[str, ...]:
    """Run the checks of `barograph debt` without raw events; a line each, and one for all that is unknown."""
    try:
        report = run_checks(settings, client, [contract], at)
    except (GrafanaError, WarehouseError) as error:
        return (f"Debts are unknown: {error}",)
    lines = [
        f"{each.kind}: {each.subject}{'' if each.kind in WITH_VALUES else f'; {each.message}'}; {each.action}; "
        f"ask {each.owner or 'nobody, none is declared'}"
        for each in report.findings
    ]
    if report.notes:
        lines.append(f"{plural(len(report.notes), 'thing')} could not be evaluated, see `barograph debt`.")
    return tuple(lines)
