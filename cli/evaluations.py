"""The command line of `barograph evaluations`."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from barograph_server.cli.options import CommandGroup, Connection, Model, Opt, Output
from barograph_server.evaluation.rates import SHOWN_ERRORS, RatesReport, label_errors_text, rates
from barograph_server.evaluation.recorded import EvaluatorRun, RecordedRun, evaluate_recorded
from barograph_server.sketches.judges.fault_rate import RATE_REASON_NAMES, FaultRate
from barograph_server.terminal import TableColumn, Terminal, percentage, picked, plural, utc_minute
from barograph_server.times import parse_range
from barograph_server.warehouse.evaluation.evaluation_rates import EvaluatedGroup, EvaluationRates


class Rate(msgspec.Struct, frozen=True):
    """A rate of faulty answers with its interval."""

    value: float
    low: float
    high: float
    insufficient: str
    """Why it is no basis for a decision; empty if it is one."""

    @property
    def interval(self) -> str:
        """The interval as people read it."""
        return "-" if self.value != self.value else f"{percentage(self.low)} to {percentage(self.high)}"


class RatedGroup(msgspec.Struct, frozen=True):
    """The answers of one evaluator, version and prompt, version, arm or day, with their rates."""

    group: EvaluatedGroup
    rate: Rate
    labels_only: Rate
    judge_adds_nothing: bool

    @property
    def note(self) -> str:
        """What limits the rate."""
        notes = [f"insufficient: {self.rate.insufficient}"] if self.rate.insufficient else []
        if self.group.shares > 1:
            notes.append("chosen with different shares, and weighted by their inverses")
        if not self.rate.insufficient and self.judge_adds_nothing:
            notes.append(f"the evaluator adds nothing to the labels alone ({self.labels_only.interval})")
        return "; ".join(notes)


def rated_groups(rates: EvaluationRates) -> list[RatedGroup]:
    """Return the groups with their rates."""

    def rate(of: FaultRate, i: int) -> Rate:
        return Rate(float(of.value[i]), float(of.low[i]), float(of.high[i]), RATE_REASON_NAMES[int(of.reason[i])])

    both = rates.rate
    return [
        RatedGroup(group, rate(both.rate, i), rate(both.gold_only, i), bool(both.judge_adds_nothing[i]))
        for i, group in enumerate(rates.groups)
    ]


def _share(part: int, whole: int, digits: int = 1) -> str:
    return percentage(part / whole, digits) if whole else "-"


def _rate_columns(by: str) -> Sequence[TableColumn]:
    return (
        TableColumn("group.evaluator"),
        TableColumn("group.evaluator_version", "version"),
        TableColumn("group.name", by, lambda name: name or "-"),
        TableColumn("group.judged", "evaluated", ","),
        TableColumn("group.without_result", "no result", ","),
        TableColumn(lambda each: _share(each.group.flagged, each.group.judged), "flagged", is_number=True),
        TableColumn("group.labels", format=","),
        TableColumn(lambda each: _share(each.group.agreeing, each.group.labels, 0), "agree", is_number=True),
        TableColumn(
            lambda each: "-" if each.rate.interval == "-" else percentage(each.rate.value), "faulty", is_number=True
        ),
        TableColumn("rate.interval"),
        TableColumn("note"),
    )


_TRUST = (
    TableColumn("evaluator"),
    TableColumn("evaluator_version", "version"),
    TableColumn("measured_by", "of"),
    TableColumn("trust.faulty", format=","),
    TableColumn("trust.sound", format=","),
    TableColumn("trust.auroc", "AUROC", lambda auroc: f"{auroc:.3f}", is_number=True),
    TableColumn(
        lambda each: f"{each.trust.low:.3f} to {each.trust.high:.3f}" if each.trust.auroc == each.trust.auroc else "",
        "interval",
    ),
    TableColumn("trust.reason", "note", lambda reason: f"not trusted: {reason}" if reason else ""),
)


def report_values(report: RatesReport) -> dict[str, Any]:
    """Return what programs read."""
    return {
        **picked(report, "model", "by", "since", "trusts"),
        "rates": rated_groups(report.rates),
        "label_errors": {name: picked(each, *SHOWN_ERRORS) for name, each in report.rates.label_errors.items()},
    }


def print_rates(terminal: Terminal, report: RatesReport) -> None:
    """Print a line for each evaluator, version and group, and then one for each evaluator and version."""
    terminal.line(f"{report.model}: answers that are faulty, since {utc_minute(report.since)} UTC", "bold")
    if not report.rates.groups:
        terminal.line("No evaluations yet. Does `barograph run evaluator` run, and is the text of answers published?")
        return
    terminal.rows(rated_groups(report.rates), _rate_columns(report.by))
    terminal.lines(label_errors_text(*each) for each in sorted(report.rates.label_errors.items()))
    if report.trusts:
        terminal.line()
        terminal.line("Evaluators against the labels of people, which count as truth here", "bold")
        terminal.rows(report.trusts, _TRUST)


evaluations_app = CommandGroup(shows=True)


@evaluations_app.add("show")
def show_command(
    output: Output,
    connection: Connection,
    model: Model,
    by: Annotated[
        Literal["prompt", "version", "arm", "day"],
        Opt("What divides answers into groups, besides the evaluator and its version."),
    ] = "prompt",
    since: Annotated[str, Opt("Start of the answers' event time: a time, or how long ago.", "TIME")] = "30d",
) -> None:
    """Show how many answers are faulty, by checks and judges, corrected by the labels of people.

    Each rate has what the evaluator says (`flagged`), and the rate with its 95 % interval, which weighs the evaluator's
    verdicts by how often people agree with them. Labels of people count as truth, unless twenty answers have two: the
    rates then allow for errors of people. A second table shows AUROC against the labels: an evaluator is
    `not trusted` until its 95 % interval is above 0.5.

    Examples:
        barograph evaluations --model support-bot
        barograph evaluations --model support-bot --by day --since 7d --format json
    """
    report = rates(model, by=by, since=since, settings=connection.config)
    output.show(report, print_rates, values=report_values)


def _reasons(run: EvaluatorRun) -> str:
    parts = [f"{reason}: {n:,}" for reason, n in run.failed.most_common()]
    parts += [f"{reason} before: {n:,}" for reason, n in run.without_result.most_common()]
    return "; ".join(parts)


_RUN = (
    TableColumn("evaluator"),
    TableColumn("version"),
    TableColumn("chosen", format=","),
    TableColumn("evaluated", format=","),
    TableColumn("already", "already evaluated", ","),
    TableColumn("waiting", format=","),
    TableColumn(lambda run: f"{run.failed.total() + run.without_result.total():,}", "no result", is_number=True),
    TableColumn("cost_usd", "US $", lambda cost: f"{cost:.4f}", is_number=True),
    TableColumn(_reasons, "why"),
)


def print_run(terminal: Terminal, run: RecordedRun) -> None:
    """Print the answers of the range, why some have no text, and a line for each evaluator."""
    counts = run.answers
    terminal.line(
        f"{run.model}: {plural(counts.predictions, 'prediction')}, {counts.failed:,} failed, "
        f"{counts.with_text:,} with the text of the answer",
        "bold",
    )
    lacking = counts.predictions - counts.failed - counts.with_text
    if lacking:
        terminal.line(f"{plural(lacking, 'answer')} without text: {run.without_text}.")
    if counts.unread:
        terminal.line(f"{plural(counts.unread, 'answer')} left to the evaluator, which has yet to read them.")
    terminal.rows(run.evaluators, _RUN)
    if any(each.without_result for each in run.evaluators):
        terminal.line("`--retry` evaluates the answers again that have no result from before.")


@evaluations_app.add("run")
def run_command(
    output: Output,
    connection: Connection,
    model: Model,
    from_: Annotated[str, Opt("Start of the answers' event time.", "TIME")],
    to: Annotated[str, Opt("Its end, exclusive.", "TIME")],
    evaluator: Annotated[str | None, Opt("Only this evaluator.", "NAME")] = None,
    retry: Annotated[bool, Opt("Also answers whose evaluations have no result.")] = False,
) -> None:
    """Evaluate recorded answers whose text is stored, each once by each version of an evaluator.

    The answers go to the running evaluator, which evaluates them within the budget of the contract. After Ctrl-C it
    goes on with those that are queued, and the command can be run again at any time. It needs the files of
    `evaluator.folder` and the endpoints of the settings.

    Examples:
        barograph evaluations run --model support-bot --from 2026-03-01 --to 2026-03-08
        barograph evaluations run --model support-bot --from 2026-03-01 --to 2026-03-02 --evaluator faithful --retry
    """
    since, until = parse_range(from_, to)
    settings = connection.settings()
    with Terminal(stderr=True).steps("Reading answers") as progress:
        run = evaluate_recorded(model, since, until, settings, evaluator=evaluator, retry=retry, progress=progress)
    output.show(run, print_run)
