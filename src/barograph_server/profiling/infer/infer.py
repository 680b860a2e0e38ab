"""Infers contract and baseline from a training table, with the decision on each column and its reason."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from barograph.contract import Arms, Contract, FieldType, Window, format_duration
from barograph.contract.check import check_contract
from barograph.contract.kinds import name_fault
from barograph.contract.problems import ContractError
from numpy.typing import NDArray

from barograph_server.profiling.infer.columns import read_times_ms
from barograph_server.profiling.infer.critical import TrainingOutputs, propose_critical
from barograph_server.profiling.infer.errors import OptionError, TableError
from barograph_server.profiling.infer.fields import (
    ID_REASON,
    MANY_VALUES_REASON,
    TEXT_NUMBERS_REASON,
    FieldReader,
    InferredField,
)
from barograph_server.profiling.infer.files import WrittenFiles, write_files
from barograph_server.profiling.infer.labels import infer_label
from barograph_server.profiling.infer.loss import MISSING, LearnedLoss, learn_loss_trees
from barograph_server.profiling.infer.phi import TrainingWindows
from barograph_server.profiling.infer.profile import (
    FieldPlan,
    Roles,
    TablePlan,
    check_roles,
    plan_columns,
    score_columns,
)
from barograph_server.profiling.infer.slices import SliceDimension, arm_slice, arm_values, read_dimension
from barograph_server.profiling.infer.tables import Table, open_table
from barograph_server.profiling.infer.windows import ROWS_PER_EVENT, OrderedTimes, Proposal, pane_for, propose
from barograph_server.sketches.baseline.baseline import ALL, HOUR_NAMES, Baseline, FieldBaseline
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.overdispersion import FINDING, ROUGH_WINDOWS
from barograph_server.sketches.drift.window_phi import typical_length_s

MANY_NULLS = 0.5

FEW_HOUR_ROWS = 500
"""Minimum rows of an hour of the week; below it, windows of that hour are often insufficient."""
FEW_WEEKS = 4
"""Minimum weeks of training to separate season from chance."""

DEFAULTS = Contract(model="default")
SeasonChoice = Literal["none", "hour_of_week"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferOptions:
    table: Path
    model: str
    version: str
    roles: Roles = field(default_factory=Roles)
    pane_s: int | None = None
    """None: a pane is as long as the hops of the windows allow."""
    windows: tuple[Window, ...] | None = None
    """None: proposed from the traffic in the training data, which requires event times; without them the defaults."""
    phi_windows: tuple[Window, ...] = ()
    """Further windows, not in the contract, whose φ is learned."""
    timezone: str = DEFAULTS.timezone
    arms: Arms | None = None
    """The arms of an A/B test, which the training data does not contain."""
    season: SeasonChoice = DEFAULTS.season
    contract: Contract | None = None
    """The contract in force, if the columns of the table are members of events: its keys stay, but for windows and the
    fields of further columns."""
    propose_critical: bool = False
    """Whether fields are critical by their importance, if `roles` names none."""


@dataclass(frozen=True, slots=True)
class Decision:
    column: str
    field: str
    """Name of the field; empty for other columns."""
    type: FieldType | str
    """The field's type; `id`, `time`, `label` or `-` for other columns."""
    bins: int
    """Number of bins or categories, without `unseen` and `null`; 0 for other columns."""
    nulls: float | None
    """The share of nulls; None for other columns."""
    reason: str


@dataclass(frozen=True, slots=True)
class InferResult:
    """Contract and baseline of one table, with decisions and warnings."""

    contract: Contract
    baseline: Baseline
    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...]
    windows: dict[str, int] = field(default_factory=dict)
    """Number of training windows by window name; empty without event times."""
    period_ms: tuple[int, int] | None = None
    """First and last event time, Unix milliseconds; None without event times."""
    windows_reason: str = ""
    """Why the contract has these panes and windows; empty if they were not proposed."""
    windows_warning: str = ""
    """Which of its windows often have too few events for a level; empty if they were not proposed, or none has."""
    critical_reasons: tuple[str, ...] = ()
    """Sentences on why fields are critical, or none is, and what pages; empty if they were not proposed."""
    replaces: Contract | None = None
    """The contract in force."""
    loss: LearnedLoss | None = None
    """The trees of the baseline with their sample; None if there are none."""

    def write_contract(self, folder: str | Path, *, force: bool = False) -> WrittenFiles:
        """Write contract and baseline, for `apply`. Errors are those of `write_files`.

        Args:
            folder: The output folder, created if it is missing.
            force: Whether to overwrite files with different content.
        """
        notes, replaces = self.critical_reasons, self.replaces
        return write_files(self.contract, self.baseline, Path(folder), notes, force=force, replaces=replaces)


def infer_file(options: InferOptions, on_column: Callable[[str], None] = lambda column: None) -> InferResult:
    """Infer contract and baseline from the file `options.table`.

    The same table and version of scikit-learn give a bit-identical result, regardless of row groups.

    Args:
        on_column: Called with the name of each column before it is read.

    Raises:
        InferError: the table cannot be read, or an option does not fit.
    """
    with open_table(options.table) as table:
        return infer_table(table, options, on_column)


def infer_table(
    table: Table, options: InferOptions, on_column: Callable[[str], None] = lambda column: None, *, workers: int = 1
) -> InferResult:
    """Infer contract and baseline from an open table, as `infer_file` does; `options.table` is not used.

    Args:
        on_column: Called with the name of each column before it is read, by the thread that reads it.
        workers: Threads, each of which reads and summarises one column at a time. The result does not depend on them.

    Raises:
        InferError: the table cannot be read, or an option does not fit.
    """
    roles = options.roles
    draft = _draft_contract(options)
    _check(draft)
    if options.season != "none" and roles.time is None:
        raise OptionError(f"--season {options.season} requires event times: name their column with --time")
    fault = name_fault(options.version)
    if fault is not None:
        raise OptionError(f"--version {fault}")
    check_roles(table, roles)
    in_force = options.contract
    declared = None if in_force is None else {field.source: field for field in in_force.fields}
    plan = plan_columns(table, roles, declared)
    times = _EventTimes(table, roles.time)
    dimensions = [read_dimension(table, expression) for expression in roles.slices]
    if in_force is not None:
        dimensions += [read_dimension(table, cut.source, cut) for cut in in_force.slices]
    slice_rows = _count_slice_rows(table, dimensions)
    proposal = Proposal(draft.pane_s, draft.windows)
    windows = None
    if times.at_ms is not None and times.untimed is not None:
        ordered = OrderedTimes(times.at_ms, times.untimed)
        hourly = options.season != "none"
        if options.windows is None:
            shares = [slice_rows[name] / table.rows for each in dimensions for name in each.slice_names[:-1]]
            proposed = propose(ordered, table.rows, shares, pane_s=options.pane_s, hourly=hourly)
            if proposed is None:
                pane = format_duration(draft.pane_s)
                raise OptionError(
                    f"--pane {pane}: no proposed window consists of such panes; name windows with --window"
                )
            proposal = proposed
        phi_windows = (*proposal.windows, *options.phi_windows)
        rate = ordered.mean_rate()
        lengths_s = {each.name: typical_length_s(each, proposal.pane_s, rate) for each in phi_windows}
        season = (options.timezone, proposal.pane_s) if hourly else None
        windows = TrainingWindows(ordered, dimensions, lengths_s, slice_rows, season)
    scores = score_columns(table, roles)
    reader = FieldReader(table, dimensions, times.at_ms, times.untimed, tuple(scores.values()))
    planned_fields: list[tuple[FieldPlan, str]] = []
    baselines: list[FieldBaseline] = []
    outputs = (
        TrainingOutputs(table, roles, tuple(scores.values()))
        if options.propose_critical and not roles.critical
        else None
    )
    explained: dict[str, float] = {}

    def read_field(planned: FieldPlan) -> tuple[FieldPlan, FieldBaseline | None, str]:
        on_column(planned.column or planned.name)
        outcome = reader.read(planned)
        if not isinstance(outcome, InferredField):
            return planned, None, outcome.reason
        if outputs is not None and planned.source.startswith("features."):
            explained[planned.name] = outputs.explained(outcome.summary.cells)
        return outcome.plan, windows.learn(outcome.summary) if windows else outcome.summary.baseline, outcome.reason

    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(read_field, plan.fields)) if workers > 1 else list(map(read_field, plan.fields))
    for planned, learned, reason in outcomes:
        if learned is None:
            plan.ignored[planned.column] = reason
        else:
            baselines.append(learned)
            planned_fields.append((planned, reason))
    _check_fields(table, plan, roles, planned_fields)
    critical, critical_reasons = ({}, ()) if outputs is None else propose_critical(outputs, explained)
    planned_fields = [
        (replace(planned, critical=True), f"{reason}; {critical[planned.name]}") if planned.name in critical else each
        for each in planned_fields
        for planned, reason in [each]
    ]
    label = infer_label(table, roles, tuple(scores))
    loss: LearnedLoss | None = None
    try:
        loss = learn_loss_trees(table, roles, label.spec, [planned for planned, _ in planned_fields])
    except ImportError:
        label.warnings.append(MISSING)
    if loss is not None:
        label.reason += f"; errors are estimated from {', '.join(each.source for each in loss.trees.features)}"
    contract = Contract(
        model=draft.model,
        timezone=draft.timezone,
        pane_s=proposal.pane_s,
        windows=proposal.windows,
        slice_min_n=proposal.slice_min_n,
        fields=tuple(planned.contract_field for planned, _ in planned_fields),
        slices=(*(dimension.contract_slice for dimension in dimensions), *arm_slice(options.arms, planned_fields)),
        season=options.season,
        label=label.spec,
        columns=roles.contract_columns,
        arms=options.arms,
        ignored={name: reason for name, reason in plan.ignored.items() if name_fault(name) is None},
    )
    if in_force is not None:
        contract = msgspec.structs.replace(in_force, windows=contract.windows, fields=contract.fields)
    _check(contract)
    baseline = Baseline(
        model=options.model,
        version=options.version,
        rows=table.rows,
        slice_rows=slice_rows,
        dimensions=(*(dimension.values for dimension in dimensions), *arm_values(options.arms)),
        timezone=options.timezone if options.season == "hour_of_week" else "",
        fields=tuple(baselines),
        loss=loss.trees if loss else None,
        source=table.name,
    )
    return InferResult(
        contract=contract,
        baseline=baseline,
        decisions=_list_decisions(table, plan, roles, planned_fields, baseline, times.time_format, label.reason),
        warnings=tuple(_list_warnings(baseline, windows, times) + label.warnings + _ignored_warnings(table, plan)),
        windows={w.name: windows.count(w.name) for w in contract.windows} if windows else {},
        period_ms=(windows.first_ms, windows.last_ms) if windows else None,
        windows_reason=proposal.reason,
        windows_warning=proposal.warning,
        critical_reasons=critical_reasons,
        replaces=in_force,
        loss=loss,
    )


class _EventTimes:
    """The event times of the rows; its arrays are None without a column of event times."""

    def __init__(self, table: Table, column: str | None) -> None:
        self.at_ms: IntArray | None = None
        self.untimed: NDArray[np.bool_] | None = None
        self.time_format = ""
        if column is not None:
            self.at_ms, self.untimed, self.time_format = read_times_ms(table, column)


def _draft_contract(options: InferOptions) -> Contract:
    """Return the contract before the table is read, to check the options."""
    pane_s, windows = options.pane_s, options.windows
    hourly = options.season != "none"
    if windows is None:
        windows = DEFAULTS.windows if pane_s is None or options.roles.time is None else (Window(pane_s, pane_s),)
    elif pane_s is None:
        pane_s = pane_for(windows, hourly=hourly)
    return Contract(
        model=options.model,
        timezone=options.timezone,
        pane_s=DEFAULTS.pane_s if pane_s is None else pane_s,
        windows=windows,
        season=options.season,
    )


def _check(contract: Contract) -> None:
    try:
        check_contract(contract)
    except ContractError as error:
        raise OptionError("\n".join(problem.message for problem in error.problems)) from error


def _count_slice_rows(table: Table, dimensions: Sequence[SliceDimension]) -> dict[str, int]:
    rows = {ALL: table.rows}
    for dimension in dimensions:
        names = dimension.slice_names
        if names[0] in rows:
            raise OptionError(f"two slices would have the name {names[0]}; rename one of their columns")
        counts = np.bincount(dimension.codes, minlength=len(names)).tolist()
        rows.update(zip(names, counts, strict=True))
    return rows


def _check_fields(table: Table, plan: TablePlan, roles: Roles, plans: Sequence[tuple[FieldPlan, str]]) -> None:
    for column in sorted(roles.critical):
        if column in plan.ignored:
            raise OptionError(f"--critical {column}: the column cannot be monitored: {plan.ignored[column]}")
    if not plans:
        reasons = "; ".join(f"{name!r} {reason}" for name, reason in list(plan.ignored.items())[:5])
        raise TableError(f"{table.name} has no column that can be monitored" + (f": {reasons}" if reasons else ""))


def _list_decisions(
    table: Table,
    plan: TablePlan,
    roles: Roles,
    plans: Sequence[tuple[FieldPlan, str]],
    baseline: Baseline,
    time_format: str,
    label_reason: str,
) -> tuple[Decision, ...]:
    """Return the decision on each column, in the order of the table; fields first, then the rest."""
    decisions = []
    for (planned, reason), learned in zip(plans, baseline.fields, strict=True):
        nulls = learned.slices[ALL].cells[-1] / baseline.rows
        bins = learned.n_cells - (1 if learned.kind == "numeric" else 2)
        decisions.append(Decision(planned.column or "scores", planned.name, planned.type, bins, nulls, reason))
    if roles.id is not None:
        decisions.append(Decision(roles.id, "", "id", 0, None, "ids of predictions"))
    if roles.time is not None:
        decisions.append(Decision(roles.time, "", "time", 0, None, f"event time, {time_format}"))
    if roles.label is not None:
        decisions.append(Decision(roles.label, "", "label", 0, None, label_reason))
    decisions += [Decision(name, "", "-", 0, None, f"ignored: {reason}") for name, reason in plan.ignored.items()]
    return tuple(decisions)


def _ignored_warnings(table: Table, plan: TablePlan) -> list[str]:
    """Warn of columns that were ignored because of their values, and that the user may want to monitor."""
    warnings = [f"{table.name}: {table.note}."] if table.note else []
    names = [name for name, reason in plan.ignored.items() if reason.startswith((ID_REASON, MANY_VALUES_REASON))]
    if names:
        warnings.append(
            f"Ignored as ids or for high cardinality: {', '.join(names)}. To monitor an integer anyway, name it in "
            "--critical."
        )
    numbers = [name for name, reason in plan.ignored.items() if reason.startswith(TEXT_NUMBERS_REASON)]
    if numbers:
        warnings.append(
            f"Ignored as numbers that are written as text: {', '.join(numbers)}. To monitor them, convert them to "
            "numbers in this table and in what you publish, and infer again."
        )
    if table.unreadable:
        columns = ", ".join(f"{name} ({kind})" for name, kind in table.unreadable.items())
        warnings.append(
            f"Ignored for their type: {columns}. To monitor them, write them as text, numbers, booleans or timestamps."
        )
    return warnings


def _season_warnings(windows: TrainingWindows) -> list[str]:
    if windows.hours is None:
        return []
    warnings = []
    weeks = (windows.last_ms - windows.first_ms) / (7 * 86_400_000)
    if weeks < FEW_WEEKS:
        warnings.append(
            f"Training covers {weeks:.1f} weeks, so each hour of the week occurs about as often: below {FEW_WEEKS} "
            "weeks, season and chance are hard to separate. Train on a longer period."
        )
    rows = windows.hours.rows
    few = rows < FEW_HOUR_ROWS
    if few.any():
        at = HOUR_NAMES[int(rows.argmin())]
        warnings.append(
            f"{int(few.sum())} of {len(rows)} hours of the week have fewer than {FEW_HOUR_ROWS} rows (the fewest {at}: "
            f"{int(rows.min()):,}): their expected distribution is shrunk towards that of the whole week, and their "
            "windows will often be insufficient."
        )
    return warnings


def _list_warnings(baseline: Baseline, windows: TrainingWindows | None, times: _EventTimes) -> list[str]:
    warnings = []
    if windows is None:
        warnings.append(
            "φ is unknown: verdicts assume independent events, which causes false alarms for correlated traffic. Name "
            "the column of event times with --time."
        )
    else:
        if times.untimed is not None and times.untimed.any():
            rows = int(np.count_nonzero(times.untimed))
            warnings.append(f"{rows:,} rows have no event time: they count in the baseline but not for φ.")
        longest, events = list(windows.mean_events.items())[-1]
        if baseline.rows < ROWS_PER_EVENT * events:
            warnings.append(
                f"Training has {baseline.rows:,} rows, less than {ROWS_PER_EVENT} times the {events:,.0f} events of a "
                f"{longest} window, so the noise of training matters. Train on a longer period, or use shorter "
                "windows."
            )
        lacking = [name for name in windows.mean_events if windows.count(name) < ROUGH_WINDOWS]
        if lacking:
            warnings.append(
                f"Training has fewer than {ROUGH_WINDOWS} whole windows of {', '.join(lacking)}: their φ comes from "
                "the next shorter length, or is unknown."
            )
        warnings += _season_warnings(windows)
    for learned in baseline.fields:
        nulls = learned.slices[ALL].cells[-1] / baseline.rows
        if nulls > MANY_NULLS:
            warnings.append(f"{learned.name}: {nulls:.0%} of the rows are null.")
    repeated = [
        f"{learned.name} " + ", ".join(f"{phi.value:.3g} ({name})" for name, phi in learned.slices[ALL].phi.items())
        for learned in baseline.fields
        if any(phi.value > FINDING for phi in learned.slices[ALL].phi.values())
    ]
    if repeated:
        warnings.append(
            f"φ above {FINDING:g}, correlated values within a window: {'; '.join(repeated)}. Their windows have far "
            "fewer independent observations than events, and short windows will be insufficient."
        )
    return warnings
