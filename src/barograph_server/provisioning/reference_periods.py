"""The periods that can be the reference of a version, the one in force, and the choice of a person."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow.compute as pc
from barograph.contract import Contract, format_duration

from barograph_server.errors import CommandError
from barograph_server.provisioning.catalogue import read_catalogue
from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.freeze import TOO_FEW_LABELS, rejection
from barograph_server.streams.scorer.measure import measure
from barograph_server.streams.scorer.reference import REFERENCE_S, ReferencePeriod, References
from barograph_server.streams.scorer.rules import make_rules, unmeasurable_reason
from barograph_server.streams.scorer.window_counts import window_counts
from barograph_server.terminal import utc_second
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.scoring import results, state
from barograph_server.warehouse.scoring.results import ReferenceChoice, ScoringStatus
from barograph_server.warehouse.scoring.rules import Rules


@dataclass(frozen=True, slots=True)
class CandidatePeriod:
    """A period of a version; times are event time in Unix seconds."""

    version: str
    from_s: int
    to_s: int
    predictions: int
    labelled: int
    metric: str
    """Metric that shows how good the period is: accuracy, or the mean absolute error."""
    value: float
    """NaN without labels."""
    in_force: bool
    reason: str
    """Why the period is in force, can be, or cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRequest:
    """A request of `barograph reference set`; times are event time, Unix seconds."""

    model: str
    version: str
    period: tuple[int, int] | None
    """None to let the scorer choose again."""
    reason: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class _Scored:
    """A model that the scorer measures."""

    contract: Contract
    rules: Rules
    status: ScoringStatus
    first_windows: dict[str, int]

    def horizon_end_s(self, to_s: int) -> float:
        """Return the event time (Unix seconds) up to which labels of a period may arrive."""
        return to_s + self.rules.horizon_ms / 1000

    def is_matured(self, to_s: int) -> bool:
        """Return whether all labels of a period have arrived that are expected."""
        return self.horizon_end_s(to_s) <= self.status.scored_until.timestamp()

    def periods(self, client: Client, version: str, starts: Sequence[int], length_s: int) -> list[CandidatePeriod]:
        """Measure periods of one length, whose starts differ by multiples of it, that have predictions."""
        table = state.window_sums(client, self.rules, length_s, starts, origin_s=starts[0])
        is_own = pc.and_(
            pc.equal(table.column("version").cast("string"), version),
            pc.equal(table.column("slice").cast("string"), ALL),
        )
        table = table.filter(is_own)
        if table.num_rows == 0:
            return []
        counts = window_counts(self.rules, table)
        metric = "mae" if self.rules.kind == "number" else "accuracy"
        values = measure(self.rules, counts)[metric, ""].metric.value
        periods = []
        for i, reason in enumerate(rejection(self.contract, self.rules, counts)):
            start_s = int(table.column("start")[i].as_py())
            if not self.is_matured(start_s + length_s):
                reason = f"labels may arrive until {utc_second(self.horizon_end_s(start_s + length_s))}"
            n, labelled, value = int(counts.predictions[i]), int(counts.labelled[i]), float(values[i])
            periods.append(
                CandidatePeriod(version, start_s, start_s + length_s, n, labelled, metric, value, False, reason)
            )
        return periods


def list_periods(address: Address, model: str, version: str | None = None) -> list[CandidatePeriod]:
    """List the weeks of each version of a model, and the period in force if it is another one.

    Raises:
        CommandError: the model is not measured, or the version has no predictions.
    """
    with connect(address) as client:
        scored = _scored(client, model)
        references = References(scored.rules, results.references(client, scored.rules)).periods
        choices = results.reference_choices(client).get(model, {})
        versions = sorted(scored.first_windows) if version is None else [_known_version(scored, version)]
        listed = []
        for each in versions:
            current, choice = references.get(each), choices.get(each)
            weeks = range(scored.first_windows[each], int(scored.status.newest_at.timestamp()) + 1, REFERENCE_S)
            periods = {
                (period.from_s, period.to_s): period
                for period in scored.periods(client, each, weeks or [weeks.start], REFERENCE_S)
            }
            others = [] if current is None else [(current.from_time, current.to_time)]
            others += [] if choice is None else [choice.period]
            for from_s, to_s in set(others) - periods.keys():
                for period in scored.periods(client, each, [from_s], to_s - from_s):
                    periods[from_s, to_s] = period
            listed += [_explained(periods[key], current, choice) for key in sorted(periods)]
    return listed


def set_period(
    address: Address, request: SetRequest, *, clock: Callable[[], float] = time.time
) -> CandidatePeriod | None:
    """Store the period that a version is compared with, and return it; None if the scorer is to choose again.

    The scorer counts it in its next pass.

    Raises:
        CommandError: the period cannot be a reference; the text says why, and what to do instead.
    """
    with connect(address) as client:
        scored = _scored(client, request.model)
        version = _known_version(scored, request.version)
        chosen = None if request.period is None else _checked(client, scored, version, *request.period)
        if not request.dry_run:
            from_s, to_s = request.period or (0, 0)
            now = datetime.fromtimestamp(clock(), UTC)
            choice = ReferenceChoice(request.model, version, _utc(from_s), _utc(to_s), request.reason, now)
            results.write_reference_choice(client, choice)
    return chosen


def _scored(client: Client, model: str) -> _Scored:
    contract = read_catalogue(client).contract(model)
    if reason := unmeasurable_reason(contract):
        raise CommandError(f"The performance of {model} is not measured: {reason}")
    rules = make_rules(contract, build_registry([(contract, 0)], []))
    status = results.scoring_statuses(client).get(model)
    if status is None or status.basis != rules.basis:
        raise CommandError(
            f"The scorer has not measured {model} under its contract yet: start it with `barograph run scorer`, or "
            "wait for its next pass (`barograph status`)."
        )
    return _Scored(contract, rules, status, state.first_windows(client, rules))


def _known_version(scored: _Scored, version: str) -> str:
    if version not in scored.first_windows:
        known = ", ".join(sorted(scored.first_windows)) or "none"
        raise CommandError(
            f"Version {version} of {scored.contract.model} has no measured predictions; versions that have some: "
            f"{known}."
        )
    return version


def _checked(client: Client, scored: _Scored, version: str, from_s: int, to_s: int) -> CandidatePeriod:
    """Measure a period, or raise CommandError if it cannot be a reference."""
    model, window_s = scored.contract.model, scored.rules.window_s
    for option, at_s in (("--from", from_s), ("--to", to_s)):
        if at_s % window_s:
            raise CommandError(
                f"{option} {utc_second(at_s)} is not the start of a score window of {model}, which is "
                f"{format_duration(window_s)} long: use {utc_second(at_s // window_s * window_s)}."
            )
    if from_s >= to_s:
        raise CommandError(f"--from {utc_second(from_s)} is not before --to {utc_second(to_s)}: change one of them.")
    if not scored.is_matured(to_s):
        raise CommandError(
            f"Labels of the period may arrive until {utc_second(scored.horizon_end_s(to_s))}, and the scorer has "
            f"measured until {utc_second(scored.status.scored_until)}: use an earlier --to, or wait."
        )
    periods = scored.periods(client, version, [from_s], to_s - from_s)
    if not periods:
        raise CommandError(
            f"Version {version} of {model} has no predictions from {utc_second(from_s)} to {utc_second(to_s)}: "
            f"`barograph reference list --model {model}` shows the weeks that have some."
        )
    [period] = periods
    if period.reason == TOO_FEW_LABELS:
        raise CommandError(
            f"The period has {period.labelled:,} labels for {period.predictions:,} predictions, too few to measure "
            "performance: use a longer period."
        )
    raw = state.raw_predictions_in(client, scored.rules, version, from_s, to_s)
    if raw < period.predictions:
        raise CommandError(
            f"{period.predictions - raw:,} of the {period.predictions:,} predictions of the period have been deleted "
            "from the table predictions, and a reference is counted from them: use a later period."
        )
    return period


def _explained(
    period: CandidatePeriod, current: ReferencePeriod | None, choice: ReferenceChoice | None
) -> CandidatePeriod:
    """Add whether the period is in force, and why."""
    key = (period.from_s, period.to_s)
    in_force = current is not None and key == (current.from_time, current.to_time)
    reason = period.reason or "can be a reference"
    if choice is not None and choice.period == key:
        by = f"chosen {utc_second(choice.chosen_at)}: {choice.reason}"
        reason = by if in_force else f"{by}; the scorer has not counted it yet"
    elif in_force:
        reason = (
            "chosen earlier; the scorer has not chosen again yet" if current and current.chosen else "first good week"
        )
    return replace(period, in_force=in_force, reason=reason)


def _utc(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
