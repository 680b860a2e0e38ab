"""Reads the report of a week from ClickHouse."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from barograph.contract import Contract, Slo, Window

from barograph_server.alerts import AlertsError
from barograph_server.alerts.incidents import Incident
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator.open_incidents import replay_until
from barograph_server.errors import CommandError
from barograph_server.reports.weekly_report import (
    Answer,
    DayVolume,
    FieldWeek,
    Losses,
    MajorSlice,
    MetricWindow,
    ReportedWeek,
    ServedShare,
    WeekFacts,
    WeeklyDrill,
    WeeklyIncident,
    WeeklyReport,
    week_of,
)
from barograph_server.terminal import listed, percentage, plural, ratio
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.changes import Change
from barograph_server.warehouse.governance.lineage import is_input
from barograph_server.warehouse.operations.weekly_report import PRODUCER_DAYS, QUERIES, RECORDED, printed_query
from barograph_server.warehouse.signals.recorded_history import read_recorded_history

ACTION_AFTER = timedelta(hours=24)
"""How long after an incident a change counts as an action."""
NO_ACTIONS = ("arm", "server-restart")
"""Kinds of changes that nobody makes to end an incident."""
WARM_UP = timedelta(days=28)
"""How long before the week changes are read: its incidents may be older."""
_WEEK_S = 7 * 86_400


@dataclasses.dataclass(frozen=True, slots=True)
class IncidentReplay:
    """The incidents since a time, or why they are unknown."""

    since: datetime
    incidents: tuple[Incident, ...] = ()
    problem: str = ""


def is_action(change: Change) -> bool:
    """Whether people may have made a change to end an incident; changes of upstream sources are none."""
    return not change.source and change.kind not in NO_ACTIONS


def report_window(contract: Contract) -> Window:
    """Choose the windows of a report: the longest of at most a week, else the shortest."""
    timed = [window for window in contract.windows if not window.last] or list(contract.windows)
    return max((window for window in timed if window.length_s <= _WEEK_S), default=min(timed))


def read_report(
    client: Client, contract: Contract, settings: AlertSettings, week: ReportedWeek, now: datetime
) -> WeeklyReport:
    """Read all figures of a week and of the week before it; `settings` has the rules' routes and mute timings."""
    _check_recorded(client, contract.model, week)
    history = read_recorded_history(client, [contract.model])
    before = week_of(_local_day(week.start, week.zone) - timedelta(days=7), week.zone)
    replay = _replay_rules(client, contract, settings, week, now)
    report = WeeklyReport(
        model=contract.model,
        team=contract.team,
        owners=contract.owners,
        contract_id=contract.id,
        window=report_window(contract).name,
        inputs=tuple(each.name for each in contract.fields if is_input(each)),
        has_label=contract.label is not None,
        week=week,
        facts=_read_facts(client, contract, week, replay, now),
        before=_read_facts(client, contract, before, replay, now),
        was_replayed=history is not None and history.was_replayed,
        answer="uncertain",
        sentence="",
        limits=(),
        queries={name: printed_query(name, _parameters(contract, week)) for name in QUERIES},
    )
    answer, sentence, limits = assess(report, contract.slo)
    return dataclasses.replace(report, answer=answer, sentence=sentence, limits=limits)


def _check_recorded(client: Client, model: str, week: ReportedWeek) -> None:
    [(n, first, last)] = client.rows(RECORDED, {"model": model})
    if not n:
        raise CommandError(
            f"Nothing of {model!r} has been counted yet: publish predictions, and see `barograph status`."
        )
    if last < week.start or first >= week.end:
        ends = (week_of(_local_day(at, week.zone), week.zone).name for at in (first, last))
        raise CommandError(
            f"Nothing of {model!r} was counted in {week.name}: choose a --week from {' to '.join(ends)}, "
            "or find out with `barograph status` why nothing arrives."
        )


def _local_day(at: datetime, zone: str) -> date:
    return at.astimezone(ZoneInfo(zone)).date()


def _parameters(contract: Contract, week: ReportedWeek) -> dict[str, str | datetime | list[str]]:
    return {
        "model": contract.model,
        "latency": next((each.name for each in contract.fields if each.source == "latency_ms"), ""),
        "start": week.start,
        "end": week.end,
        "zone": week.zone,
        "windows": [each.name for each in contract.windows],
    }


def _read_facts(
    client: Client, contract: Contract, week: ReportedWeek, replay: IncidentReplay, now: datetime
) -> WeekFacts:
    parameters = _parameters(contract, week)
    hops = {window.name: window.hop_s for window in contract.windows}
    rows = {name: client.rows(sql, parameters) for name, sql in QUERIES.items()}
    in_kafka, before_kafka, dead_lettered = (int(each or 0) for each in rows["losses"][0])
    is_recent = week.start >= now - timedelta(days=PRODUCER_DAYS)
    longer = {**parameters, "start": week.start - WARM_UP, "end": week.end + ACTION_AFTER}
    known = [Change(*row) for row in client.rows(QUERIES["changes"], longer)]
    return WeekFacts(
        days=tuple(DayVolume(*row) for row in rows["volume"]),
        served=tuple(ServedShare(*row) for row in rows["served"]),
        latency=tuple(rows["latency"][0]) if rows["latency"] else (),
        verdicts=tuple(_field_week(row, hops) for name in ("drift", "rates") for row in rows[name]),
        major_slices=tuple(MajorSlice(*row) for row in rows["slices"]),
        metrics=tuple(MetricWindow(*row) for row in rows["performance"]),
        labelled=(int(rows["labels"][0][0]), int(rows["labels"][0][1])),
        losses=Losses(in_kafka, max(before_kafka, 0) if is_recent else None, dead_lettered),
        drills=tuple(WeeklyDrill(*row) for row in rows["drills"]),
        changes=tuple(Change(*row) for row in rows["changes"]),
        incidents=None if replay.problem else tuple(_incidents_of_week(replay, known, week)),
        incidents_problem=replay.problem,
    )


def _field_week(row: tuple[Any, ...], hops: Mapping[str, int]) -> FieldWeek:
    *head, worst, majors, _, since = row
    hours_major = majors * hops.get(row[3], math.nan) / 3600
    level, *numbers, worst_at = worst
    verdict = [level, *numbers] if level else ["insufficient", *[math.nan] * len(numbers)]
    values = [*head, *verdict, worst_at, hours_major, since[0] if since else None]
    return FieldWeek(*values)


def _incidents_of_week(
    replay: IncidentReplay, changes: Sequence[Change], week: ReportedWeek
) -> Iterator[WeeklyIncident]:
    for each in replay.incidents:
        opened = datetime.fromtimestamp(each.opened_at, UTC)
        closed = None if each.end is None else datetime.fromtimestamp(each.end, UTC)
        if opened < week.end and (closed is None or closed > week.start):
            last = (closed or week.end) + ACTION_AFTER
            actions = tuple(change for change in changes if is_action(change) and opened <= change.changed_at < last)
            yield WeeklyIncident(
                each.title, each.severity, opened, opened < replay.since + timedelta(days=1), closed, actions
            )


def _replay_rules(
    client: Client, contract: Contract, settings: AlertSettings, week: ReportedWeek, now: datetime
) -> IncidentReplay:
    until = int(min(week.end, now).timestamp())
    try:
        replays = [*replay_until(client, [contract], settings, until, contract.model)]
    except AlertsError as error:
        return IncidentReplay(week.start, problem=str(error))
    if not replays or replays[0].since >= replays[0].until:
        return IncidentReplay(week.start, problem="no window of the week has a verdict yet")
    return IncidentReplay(datetime.fromtimestamp(replays[0].since, UTC), replays[0].incidents)


def assess(report: WeeklyReport, slo: Slo) -> tuple[Answer, str, tuple[str, ...]]:
    """Return the answer, its sentence, and its limits. A week with limits is never healthy."""
    problems, limits = tuple(_problems(report.facts, slo)), tuple(_limits(report))
    if problems:
        return "unhealthy", f"This week was not healthy: {'; '.join(problems)}.", limits
    if not report.facts.total("predictions"):
        return "uncertain", "It is unknown whether this week was healthy: no predictions were counted.", limits
    if limits:
        sentence = f"It is not certain that this week was healthy: nothing major was found, but {'; '.join(limits)}."
        return "uncertain", sentence, limits
    return "healthy", "This week was healthy: every event counts, nothing is major, no alert rule fired.", limits


def _problems(facts: WeekFacts, slo: Slo) -> Iterator[str]:
    """Yield the problems, those that users notice first."""
    n, errors, timed, slow = (facts.total(name) for name in ("predictions", "errors", "timed", "slow"))
    if metrics := sorted({each.metric for each in facts.metrics if each.level == "major"}):
        yield f"performance is worse than its objective or reference in {listed(metrics)}"
    if slo.error_rate is not None and errors > slo.error_rate * n:
        yield f"{ratio(errors, n)} of the predictions failed, more than the {percentage(slo.error_rate, 2)} of the SLO"
    if slo.latency_share is not None and slow > (1 - slo.latency_share) * timed:
        yield f"{ratio(slow, timed)} of the predictions took longer than {slo.latency_ms:g} ms, against the SLO"
    if pages := facts.incidents_of("page"):
        yield f"{plural(pages, 'incident')} paged"
    if tickets := facts.incidents_of("ticket"):
        yield f"{plural(tickets, 'incident')} opened a ticket"
    if facts.major_fields:
        yield f"major change of {listed(facts.major_fields)}"
    if facts.major_slices:
        yield f"major change in the slices {listed([each.slice for each in facts.major_slices])}"
    if failed := sum(not drill.passed for drill in facts.drills):
        yield f"{plural(failed, 'drill')} failed"


def _limits(report: WeeklyReport) -> Iterator[str]:
    facts, losses = report.facts, report.facts.losses
    expected = (report.week.end - report.week.start).total_seconds() / 3600
    if facts.hours < expected:
        yield f"only {facts.hours:g} of {expected:g} hours are counted"
    if not all(day.is_sealed for day in facts.days):
        yield "some panes still wait for events"
    complete = min((each.completeness for each in facts.verdicts), default=1.0)
    if complete < 1:
        yield f"the least complete window has {percentage(complete, 2)} of its events"
    if losses.in_kafka:
        yield f"{plural(losses.in_kafka, 'offset')} of all models were lost in Kafka"
    if losses.before_kafka is None:
        yield "losses before Kafka are unknown so long after the week"
    elif losses.before_kafka:
        yield f"{plural(losses.before_kafka, 'event')} were lost before Kafka"
    if losses.dead_lettered:
        yield f"{plural(losses.dead_lettered, 'event')} of this or an unknown model were dead-lettered"
    longest = [each for each in facts.verdicts if each.window == report.window]
    windows, insufficient = sum(each.windows for each in longest), sum(each.insufficient for each in longest)
    if not windows:
        yield f"there are no verdicts on windows of {report.window}"
    elif insufficient:
        why = next(each.reason for each in longest if each.insufficient)
        share = ratio(insufficient, windows)
        yield f"{share} of the verdicts on windows of {report.window} are insufficient (such as: {why or 'unknown'})"
    if report.has_label:
        yield from _label_limits(facts)
    if facts.incidents is None:
        yield f"incidents are unknown: {facts.incidents_problem}"


def _label_limits(facts: WeekFacts) -> Iterator[str]:
    if not facts.labelled[1]:
        yield "no labels have arrived"
    elif not facts.metrics:
        yield "performance has not been measured"
    else:
        pending = len({(each.version, each.window, each.window_end) for each in facts.metrics if not each.mature})
        unknown = len({each.metric for each in facts.metrics if each.mature and each.level == "insufficient"})
        if pending:
            yield f"labels are not mature in {plural(pending, 'window')} of performance"
        if unknown:
            yield f"performance has no sufficient verdict for {plural(unknown, 'metric')} in some windows"
