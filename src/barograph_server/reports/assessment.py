"""Answers whether a week was healthy, and names what limits the answer."""

from collections.abc import Iterator

from barograph.contract import Slo

from barograph_server.reports.weekly_report import Answer, WeekFacts, WeeklyReport
from barograph_server.terminal import listed, percentage, plural, ratio


def assess(report: WeeklyReport, slo: Slo) -> tuple[Answer, str, tuple[str, ...]]:
    """Return the answer, its sentence, and its limits. A week with limits is never healthy."""
    problems, limits = tuple(_problems(report.facts, slo)), tuple(_limits(report))
    if problems:
        return "unhealthy", f"This week was not healthy: {'; '.join(problems)}.", limits
    if not report.facts.total("predictions"):
        return "uncertain", "It is unknown whether this week was healthy: no predictions were counted.", limits
    if limits:
        return (
            "uncertain",
            f"It is not certain that this week was healthy: nothing major was found, but {'; '.join(limits)}.",
            limits,
        )
    return (
        "healthy",
        "This week was healthy: every event counts, nothing is major, no alert rule fired.",
        limits,
    )


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
