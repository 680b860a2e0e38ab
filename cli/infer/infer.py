"""Training table → contract and baseline, with what was decided about each column and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from barograph.contract import Arms, Contract, FieldType, Window
from barograph.contract.check import check_contract
from barograph.contract.kinds import name_fault
from barograph.contract.problems import ContractError
from numpy.typing import NDArray

from cli.infer.columns import read_times_ms
from cli.infer.errors import OptionError, TableError
from cli.infer.fields import ID_REASON, MANY_TEXTS_REASON, FieldReader, InferredField
from cli.infer.labels import infer_label
from cli.infer.phi import TrainingWindows
from cli.infer.profile import FieldPlan, Roles, TablePlan, check_roles, plan_columns, score_columns
from cli.infer.slices import Dimension, arm_slice, arm_values, read_dimension
from cli.infer.tables import Table, open_table
from sketches.baseline.baseline import ALL, HOUR_NAMES, Baseline, FieldBaseline
from sketches.baseline.layout import IntArray
from sketches.drift.overdispersion import FINDING, ROUGH_WINDOWS

MANY_NULLS = 0.5
ROWS_PER_EVENT = 10
"""Training should hold this many times the events of the largest window, else its own noise widens verdicts."""

FEW_SLOT_ROWS = 500
"""An hour of the week of fewer rows is hardly worth more than the whole: its windows will often be insufficient."""
FEW_WEEKS = 4

DEFAULTS = Contract(model="default")
Season = Literal["none", "hour_of_week"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferOptions:
    """The options of `barograph infer`."""

    table: Path
    model: str
    version: str
    roles: Roles = field(default_factory=Roles)
    pane_s: int = DEFAULTS.pane_s
    windows: tuple[Window, ...] = DEFAULTS.windows
    timezone: str = DEFAULTS.timezone
    arms: Arms | None = None
    """The arms of an A/B test, which training data does not hold."""
    season: Season = DEFAULTS.season


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one column."""

    column: str
    field: str
    """Empty where it is no field."""
    type: FieldType | str
    """The field's type; `time`, `label` or `-` for other columns."""
    bins: int
    """Bins or categories that are counted, without `unseen` and `null`; 0 where it is no field."""
    nulls: float | None
    """The share of nulls; None where it is no field."""
    why: str


@dataclass(frozen=True, slots=True)
class InferResult:
    """Contract and baseline of one table, and how they came about."""

    contract: Contract
    baseline: Baseline
    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...]
    windows: dict[str, int] = field(default_factory=dict)
    """Training windows by window name; empty without event times."""
    period_ms: tuple[int, int] | None = None
    """First and last event time."""


def infer(options: InferOptions, on_column: Callable[[str], None] = lambda column: None) -> InferResult:
    """Learn contract and baseline from a table.

    The same table gives the same result to the bit, however it is cut into row groups.

    Args:
        options: The options of the command.
        on_column: Called with the name of each column before it is read.

    Raises:
        InferError: the table cannot be read or an option does not fit; the text is for people.
    """
    roles = options.roles
    draft = Contract(
        model=options.model,
        timezone=options.timezone,
        pane_s=options.pane_s,
        windows=options.windows,
        season=options.season,
    )
    _check(draft)
    if options.season != "none" and roles.time is None:
        raise OptionError(f"--season {options.season} takes event times: name their column with --time")
    fault = name_fault(options.version)
    if fault is not None:
        raise OptionError(f"--version {fault}")
    with open_table(options.table) as table:
        check_roles(table, roles)
        plan = plan_columns(table, roles)
        clock = _Clock(table, roles.time)
        dimensions = [read_dimension(table, cut) for cut in roles.slices]
        slice_rows = _slice_rows(table, dimensions)
        windows = None
        if clock.at_ms is not None and clock.untimed is not None:
            season = (options.timezone, options.pane_s) if options.season == "hour_of_week" else None
            windows = TrainingWindows(clock.at_ms, clock.untimed, dimensions, options.windows, slice_rows, season)
        scores = score_columns(table, roles)
        reader = FieldReader(table, dimensions, clock.at_ms, clock.untimed, tuple(scores.values()))
        result: list[tuple[FieldPlan, str]] = []
        baselines: list[FieldBaseline] = []
        for planned in plan.fields:
            on_column(planned.column or planned.name)
            outcome = reader.read(planned)
            if isinstance(outcome, InferredField):
                baselines.append(windows.learn(outcome.summary) if windows else outcome.summary.baseline)
                result.append((outcome.plan, outcome.why))
            else:
                plan.left_out[planned.column] = outcome.reason
        _check_kept(table, plan, roles, result)
        label, label_why = infer_label(table, roles, tuple(scores))
        contract = Contract(
            model=draft.model,
            timezone=draft.timezone,
            pane_s=draft.pane_s,
            windows=draft.windows,
            fields=tuple(planned.declared for planned, _ in result),
            slices=(*(dimension.declared for dimension in dimensions), *arm_slice(options.arms, result)),
            season=options.season,
            label=label,
            arms=options.arms,
            ignored={name: why for name, why in plan.left_out.items() if name_fault(name) is None},
        )
        _check(contract)
        baseline = Baseline(
            model=options.model,
            version=options.version,
            rows=table.rows,
            slice_rows=slice_rows,
            dimensions=(*(dimension.values for dimension in dimensions), *arm_values(options.arms)),
            timezone=options.timezone if options.season == "hour_of_week" else "",
            fields=tuple(baselines),
            source=table.name,
        )
        return InferResult(
            contract=contract,
            baseline=baseline,
            decisions=_decisions(table, plan, roles, result, baseline, clock.how, label_why),
            warnings=tuple(_warnings(contract, baseline, windows, clock) + _left_out(plan)),
            windows={w.name: windows.count(w.length_s) for w in options.windows} if windows else {},
            period_ms=(windows.first_ms, windows.last_ms) if windows else None,
        )


class _Clock:
    """The event times of the rows, where there are any."""

    def __init__(self, table: Table, column: str | None) -> None:
        self.at_ms: IntArray | None = None
        self.untimed: NDArray[np.bool_] | None = None
        self.how = ""
        if column is not None:
            self.at_ms, self.untimed, self.how = read_times_ms(table, column)


def _check(contract: Contract) -> None:
    try:
        check_contract(contract)
    except ContractError as error:
        raise OptionError("\n".join(problem.message for problem in error.problems)) from error


def _slice_rows(table: Table, dimensions: Sequence[Dimension]) -> dict[str, int]:
    rows = {ALL: table.rows}
    for dimension in dimensions:
        names = dimension.slice_names
        if names[0] in rows:
            raise OptionError(f"two slices would be called {names[0]}; rename one of their columns")
        counts = np.bincount(dimension.codes, minlength=len(names)).tolist()
        rows.update(zip(names, counts, strict=True))
    return rows


def _check_kept(table: Table, plan: TablePlan, roles: Roles, plans: Sequence[tuple[FieldPlan, str]]) -> None:
    for column in sorted(roles.critical):
        if column in plan.left_out:
            raise OptionError(f"--critical {column}: the column cannot be watched: {plan.left_out[column]}")
    if not plans:
        reasons = "; ".join(f"{name!r} {why}" for name, why in list(plan.left_out.items())[:5])
        raise TableError(f"{table.name} has no column that can be watched" + (f": {reasons}" if reasons else ""))


def _decisions(
    table: Table,
    plan: TablePlan,
    roles: Roles,
    plans: Sequence[tuple[FieldPlan, str]],
    baseline: Baseline,
    time_how: str,
    label_why: str,
) -> tuple[Decision, ...]:
    """Return the decision on each column, in the order of the table; fields first, then the rest."""
    decisions = []
    for (planned, why), frozen in zip(plans, baseline.fields, strict=True):
        nulls = frozen.slices[ALL].cells[-1] / baseline.rows
        bins = frozen.n_cells - (1 if frozen.kind == "numeric" else 2)
        decisions.append(Decision(planned.column or "scores", planned.name, planned.type, bins, nulls, why))
    if roles.time is not None:
        decisions.append(Decision(roles.time, "", "time", 0, None, f"event time, {time_how}"))
    if roles.label is not None:
        decisions.append(Decision(roles.label, "", "label", 0, None, label_why))
    decisions += [Decision(name, "", "-", 0, None, f"left out: {why}") for name, why in plan.left_out.items()]
    return tuple(decisions)


def _left_out(plan: TablePlan) -> list[str]:
    """Name columns that were left out for what they hold, which may have been meant to be watched."""
    names = [name for name, why in plan.left_out.items() if why.startswith((ID_REASON, MANY_TEXTS_REASON))]
    if not names:
        return []
    return [
        f"Left out as ids or for too many values: {', '.join(names)}. A whole number named in --critical is "
        "watched all the same."
    ]


def _season_warnings(windows: TrainingWindows) -> list[str]:
    if windows.hours is None:
        return []
    warnings = []
    weeks = (windows.last_ms - windows.first_ms) / (7 * 86_400_000)
    if weeks < FEW_WEEKS:
        warnings.append(
            f"Training covers {weeks:.1f} weeks, and each hour of the week about as often: under {FEW_WEEKS} times "
            "chance and season are hard to tell apart. Train on a longer period."
        )
    rows = windows.hours.rows
    few = rows < FEW_SLOT_ROWS
    if few.any():
        at = HOUR_NAMES[int(rows.argmin())]
        warnings.append(
            f"{int(few.sum())} of {len(rows)} hours of the week hold under {FEW_SLOT_ROWS} rows (the fewest {at}: "
            f"{int(rows.min()):,}): what is expected of them is drawn to the whole week, and windows in them will "
            "often be insufficient."
        )
    return warnings


def _warnings(contract: Contract, baseline: Baseline, windows: TrainingWindows | None, clock: _Clock) -> list[str]:
    warnings = []
    if windows is None:
        warnings.append(
            "φ is not known: verdicts take events as independent, which alarms falsely where traffic repeats "
            "itself. Name the column of event times with --time."
        )
    else:
        if clock.untimed is not None and clock.untimed.any():
            rows = int(np.count_nonzero(clock.untimed))
            warnings.append(f"{rows:,} rows have no event time: they are in the baseline, not in φ.")
        longest = max(contract.windows)
        events = windows.mean_events(longest.length_s)
        if baseline.rows < ROWS_PER_EVENT * events:
            warnings.append(
                f"Training has {baseline.rows:,} rows, a window of {longest.name} about {events:,.0f} events: under "
                f"{ROWS_PER_EVENT} times as many, so that training's own noise counts. Train on a longer period, or "
                "watch shorter windows."
            )
        lacking = [w.name for w in sorted(contract.windows) if windows.count(w.length_s) < ROUGH_WINDOWS]
        if lacking:
            warnings.append(
                f"Training holds under {ROUGH_WINDOWS} whole windows of {', '.join(lacking)}: their φ is that of "
                "the next shorter length, or not known."
            )
        warnings += _season_warnings(windows)
    for frozen in baseline.fields:
        nulls = frozen.slices[ALL].cells[-1] / baseline.rows
        if nulls > MANY_NULLS:
            warnings.append(f"{frozen.name}: {nulls:.0%} of the rows are null.")
    repeated = [
        f"{frozen.name} " + ", ".join(f"{phi.value:.3g} ({name})" for name, phi in frozen.slices[ALL].phi.items())
        for frozen in baseline.fields
        if any(phi.value > FINDING for phi in frozen.slices[ALL].phi.values())
    ]
    if repeated:
        warnings.append(
            f"φ over {FINDING:g}, values that repeat themselves within a window: {'; '.join(repeated)}. Their windows "
            "hold far fewer independent readings than events, and short ones will be insufficient."
        )
    return warnings
