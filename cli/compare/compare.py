"""Compares production with training: infers contract and baseline, counts, judges and measures in this process."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import CROSS, Contract
from barograph.contract.file import load_contract
from barograph.publisher.tables import as_table
from barograph.values import InvalidEvent
from numpy.typing import NDArray

from cli.compare.classifier import MISSING, MultivariateDrift, category_codes, classify, sample_rows
from cli.compare.errors import CompareError
from cli.compare.hints import Hint, column_hints, spelling_hint, unit_hint
from cli.compare.outcomes import OutcomeCounts, outcome_columns
from cli.compare.panes import JudgedPeriods, judge_periods, make_registry, map_in_order, merge_summaries, summarise
from cli.compare.performance import PeriodMetric, compare_performance
from cli.compare.periods import (
    Grain,
    Period,
    choose_grain,
    learned_windows,
    make_periods,
    pane_length_s,
)
from cli.compare.report import SEVERITY, CompareReport, ComparedTable, FieldSummaryLine, PeriodShares, of_all
from cli.compare.report import rows_by_period
from cli.compare.served import EventTimes, ServedRows, read_event_times, source_columns_of
from cli.infer.infer import InferOptions, InferResult, infer_table
from cli.infer.profile import Roles, check_roles
from cli.infer.tables import BATCH_ROWS, Table, memory_table, open_table
from cli.load.files import csv_types
from cli.terminal import plural
from sketches.baseline.baseline import ALL, Baseline, FieldBaseline
from sketches.baseline.layout import EVENTS
from sketches.sketch.categorical import UnseenCategories
from streams.events.columns import EventColumns
from streams.events.projection import build_projection
from streams.monitor.state.merged_ranges import MergedRange
from streams.monitor.state.series import Series
from streams.registry.registry import Registry
from streams.scorer.rules import make_rules, unmeasurable_reason
from streams.sketcher.pane_summary import PaneKey, PaneSummary
from warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]

MAX_WORKERS = 4
MAX_NAMED_UNSEEN = 50
"""Unseen values that hints read per field."""
_TRAINING, _PRODUCTION = "the training table", "the production table"
_OUTPUT_ROLES = ("score", "class_", "latency")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How to compare."""

    roles: Roles = Roles()
    id: str | None = None
    """The column of ids, which is not a field; rows without an id are left out, as by the publisher."""
    by: Grain | None = None
    """Grain of the periods; None chooses it by the span of the production data."""
    contract: Contract | None = None
    """The contract in force; None infers it from training."""
    model: str = "model"
    """Name of the model in an inferred contract."""
    version: str = "1"
    is_multivariate: bool = True
    """Whether to train the classifier that tells production from training."""


def compare(
    train: Any,
    prod: Any,
    *,
    time: str | None = None,
    score: str | None = None,
    class_: str | None = None,
    label: str | None = None,
    id: str | None = None,
    by: Grain | None = None,
    contract: Contract | str | Path | None = None,
    slices: Sequence[str] = (),
    scores: str | None = None,
    latency: str | None = None,
    model: str = "model",
    version: str = "1",
    multivariate: bool = True,
) -> CompareReport:
    """Compare production data with training data, without Kafka and ClickHouse.

    The verdicts are those of the pipeline: the same contract, sketches, thresholds and intervals.

    Args:
        train: The training data: a path of a Parquet, CSV or Arrow file, or a table (pandas, polars, pyarrow, …).
        prod: The production data, in the same forms.
        time: The column of event times; without it all production rows are one period and φ is unknown.
        score: The column of the model's score.
        class_: The column of the predicted class.
        label: The column of the ground truth. Production may lack it, or have nulls.
        id: The column of ids, which is not a field.
        by: `month`, `week`, `day`, `hour` (calendar periods in UTC) or `all`; by default chosen by the time span.
        contract: A contract, or the path of its file; by default it is inferred from the training data.
        slices: Columns whose values are judged separately; `a * b` crosses two.
        scores: The prefix of the columns of class probabilities, `scores.` by default.
        latency: The column of latencies in milliseconds.
        model: The name of the model in an inferred contract.
        version: The version of the model in the baseline.
        multivariate: Whether to train a classifier that tells production from training (with scikit-learn).

    Raises:
        CompareError: the tables cannot be compared.
        InferError: a table cannot be read, or an argument names no fitting column.
        ContractError: the contract cannot be read.
    """
    roles = Roles(
        time=time, score=score, class_=class_, label=label, latency=latency, scores=scores, slices=tuple(slices)
    )
    options = CompareOptions(
        roles=roles,
        id=id,
        by=by,
        contract=load_contract(Path(contract)) if isinstance(contract, str | Path) else contract,
        model=model,
        version=version,
        is_multivariate=multivariate,
    )
    with ExitStack() as stack:
        types = csv_types(options.contract) if options.contract is not None else None
        tables = [
            stack.enter_context(open_table(Path(data), types))
            if isinstance(data, str | Path)
            else memory_table(name, _as_table(data, name))
            for data, name in ((train, _TRAINING), (prod, _PRODUCTION))
        ]
        return compare_tables(*tables, options)


def _as_table(data: Any, name: str) -> pa.Table:
    try:
        return as_table(data)
    except InvalidEvent as error:
        raise CompareError(f"{name}: {error}.") from error


def compare_tables(
    training: Table, production: Table, options: CompareOptions, on_step: Callable[[str], None] = lambda step: None
) -> CompareReport:
    """Compare two open tables.

    Args:
        training: the training table.
        production: the production table.
        options: how to compare.
        on_step: called with a description of each step.

    Raises:
        CompareError: the tables cannot be compared.
        InferError: a table cannot be read, or an option does not fit.
    """
    return _Comparer(training, production, options, on_step).run()


class _Comparer:
    """The state of one comparison."""

    def __init__(
        self, training: Table, production: Table, options: CompareOptions, on_step: Callable[[str], None]
    ) -> None:
        self.options, self.on_step = options, on_step
        self.training, self.production = training, production
        self.notes: list[str] = []
        self.workers = max(1, min(MAX_WORKERS, len(os.sched_getaffinity(0))))

    def run(self) -> CompareReport:
        options = self.options
        self._check_columns()
        times = read_event_times(self.production, options.roles.time)
        grain = self._grain(times)
        contract, baseline, inferred = self._learn(grain, times)
        pane_s = pane_length_s(grain, contract)
        periods = make_periods(grain, times.first_ms, times.last_ms, pane_s)
        counting = msgspec.structs.replace(contract, pane_s=pane_s)
        registry = make_registry(counting, baseline)
        columns = source_columns_of(contract, self._roles_in(self.production), self.production)
        self._check_fields(contract, columns)
        rules = self._rules(contract, registry)
        projection = build_projection(registry, contract.model)
        rows = _ProductionPass(
            self.production,
            ServedRows(counting, baseline.version, columns, options.id, projection),
            registry,
            times,
            periods,
            rules,
            outcome_columns(rules, columns, options.roles.label if self._has(self.production, "label") else None),
        )
        self.on_step(f"counting {self.production.name}")
        rows.read(self.workers, sampled=options.is_multivariate)
        phi_name = _phi_name(baseline, grain, times.span_s)
        self.on_step("judging")
        judged = judge_periods(registry, counting, rows.panes, periods, phi_name)
        performance = self._performance(contract, registry, rules, rows, periods)
        multivariate = self._multivariate(contract, baseline, registry, rows) if options.is_multivariate else None
        hints = column_hints(contract, columns, self.training, self.production)
        lines = _summaries(contract, baseline, judged, periods)
        hints += _value_hints(contract, judged, lines)
        self._add_notes(rows, periods, judged)
        if inferred is not None:
            self.notes += inferred.warnings
        has_times = options.roles.time is not None
        return CompareReport(
            training=ComparedTable(
                self.training.name, self.training.rows, 0, *(inferred.period_ms if inferred and inferred.period_ms else ())
            ),
            production=ComparedTable(
                self.production.name,
                self.production.rows,
                rows.n_rejected,
                times.first_ms if has_times else None,
                times.last_ms if has_times else None,
            ),
            contract=contract,
            baseline=baseline,
            grain=grain,
            periods=tuple(periods),
            events=tuple(int(judged.counts[period.end_s][0, EVENTS]) for period in periods),
            phi_window=phi_name,
            drift=judged.drift,
            rates=judged.rates,
            distances=judged.distances,
            performance=tuple(performance),
            hints=tuple(hints),
            notes=tuple(self.notes),
            multivariate=multivariate,
            fields=tuple(lines),
            inferred=inferred if options.contract is None else None,
        )

    # ------------------------------------------------------------------------------------------ columns and periods

    def _check_columns(self) -> None:
        """Check the columns that options name; note those that one of the tables may lack.

        Raises:
            CompareError: the column of ids does not exist.
            OptionError: another column does not exist, or cannot be used.
        """
        roles = self.options.roles
        for table in (self.training, self.production):
            if self.options.id is not None and self.options.id not in {*table.columns, *table.unreadable}:
                raise CompareError(
                    f"--id {self.options.id}: {table.name} has no such column; its columns: "
                    f"{', '.join(list(table.columns)[:12])}."
                )
        if self._has(self.production, "label") or self._has(self.training, "label"):
            checked = self._roles_in(self.production)
        else:
            checked = roles
        check_roles(self.production, replace(checked, time=roles.time, slices=()))
        if roles.label is not None and not self._has(self.production, "label"):
            self.notes.append(f"{self.production.name} has no column {roles.label}: performance is only estimated.")
        for role in ("time", "label", *_OUTPUT_ROLES):
            column = getattr(roles, role)
            if column is None or self._has(self.training, role):
                continue
            reason = {"time": "φ is unknown", "label": "performance has no reference"}.get(role, "its drift is unknown")
            self.notes.append(f"{self.training.name} has no column {column}: {reason}.")

    def _has(self, table: Table, role: str) -> bool:
        return getattr(self.options.roles, role) in table.columns

    def _roles_in(self, table: Table) -> Roles:
        """Return the roles without columns that a table lacks."""
        roles = self.options.roles
        missing = {role: None for role in ("time", "label", *_OUTPUT_ROLES) if not self._has(table, role)}
        return replace(roles, **missing)

    def _grain(self, times: EventTimes) -> Grain:
        by = self.options.by
        if self.options.roles.time is None:
            if by not in (None, "all"):
                raise CompareError(f"--by {by} needs event times: name their column with --time.")
            return "all"
        return by or choose_grain(times.first_ms, times.last_ms)

    def _check_fields(self, contract: Contract, columns: Mapping[str, str]) -> None:
        sources = [field.source for field in contract.fields]
        if sources and not any(source in columns for source in sources):
            named = ", ".join(source.partition(".")[2] or source for source in sources[:8])
            raise CompareError(
                f"{self.production.name} has no column of a field: {named}. Rename its columns, or correct --contract."
            )

    # ------------------------------------------------------------------------------------------ training

    def _learn(self, grain: Grain, times: EventTimes) -> tuple[Contract, Baseline, InferResult]:
        options, declared = self.options, self.options.contract
        roles = self._roles_in(self.training)
        table = self.training.without([options.id]) if options.id else self.training
        if declared is not None:
            roles = _roles_of(declared, roles, table)
        windows = learned_windows(grain, times.span_s)
        infer_options = InferOptions(
            table=Path(table.name),
            model=options.model if declared is None else declared.model,
            version=options.version,
            roles=roles,
            windows=windows,
            **({} if declared is None else {"timezone": declared.timezone, "season": declared.season}),
        )
        self.on_step(f"reading {table.name}")
        inferred = infer_table(
            table, infer_options, lambda column: self.on_step(f"reading {column}"), workers=self.workers
        )
        if declared is None:
            contract = inferred.contract
            if options.id is not None:
                ignored = {**contract.ignored, options.id: "the ids"}
                inferred = replace(inferred, contract=msgspec.structs.replace(contract, ignored=ignored))
            return inferred.contract, inferred.baseline, inferred
        return declared, _baseline_for(declared, inferred, table.name), inferred

    def _rules(self, contract: Contract, registry: Registry) -> Rules | None:
        """Return the scoring rules; None, with a note, if performance cannot be measured."""
        if contract.label is None:
            return None
        recorded = msgspec.structs.replace(contract, raw_share=1.0)
        reason = unmeasurable_reason(recorded)
        if reason:
            self.notes.append(f"Performance is not measured. {reason}")
            return None
        return make_rules(recorded, registry)

    # ------------------------------------------------------------------------------------------ further rows

    def _performance(
        self,
        contract: Contract,
        registry: Registry,
        rules: Rules | None,
        rows: _ProductionPass,
        periods: Sequence[Period],
    ) -> list[PeriodMetric]:
        if rules is None or rows.outcomes is None:
            return []
        self.on_step("measuring performance")
        training = None
        columns = source_columns_of(contract, self._roles_in(self.training), self.training)
        selected = outcome_columns(rules, columns, self.options.roles.label)
        if self._has(self.training, "label") and len(selected) > 1:
            counts = OutcomeCounts(rules, 1)
            for batch in self.training.row_batches(list(dict.fromkeys(selected.values()))):
                period = np.zeros(batch.num_rows, np.int64)
                counts.add(period, {name: batch.column(column) for name, column in selected.items()})
            training = counts.counts()
        labels = [period.label for period in periods]
        return compare_performance(contract, rules, labels, training, rows.outcomes.counts())

    def _multivariate(
        self, contract: Contract, baseline: Baseline, registry: Registry, rows: _ProductionPass
    ) -> MultivariateDrift | None:
        self.on_step("training a classifier")
        learned = {field.name: field for field in baseline.fields}
        fields = [
            field
            for field in contract.fields
            if field.name in learned and field.source.partition(".")[0] in ("features", "context")
        ]
        columns = source_columns_of(contract, self._roles_in(self.training), self.training)
        served = ServedRows(contract, baseline.version, columns, None, build_projection(registry, contract.model))
        time = self.options.roles.time if self._has(self.training, "time") else None
        try:
            import sklearn  # noqa: F401

            times = read_event_times(self.training, time)
            training = _Sample(self.training.rows)
            first = 0
            for batch in self.training.row_batches(served.columns):
                training.add(first, batch, served, times)
                first += batch.num_rows
            matrices = [
                [_matrix_column(sample.events, field.source, field.type, learned[field.name]) for field in fields]
                for sample in (training, rows.sample)
            ]
            sizes = [len(learned[field.name].categories) for field in fields]
            return classify([field.name for field in fields], *matrices, sizes)
        except ImportError:
            self.notes.append(MISSING)
            return None

    def _add_notes(self, rows: _ProductionPass, periods: Sequence[Period], judged: JudgedPeriods) -> None:
        if rows.n_rejected:
            rejected = plural(rows.n_rejected, "row")
            self.notes.append(f"{rejected} of {self.production.name} without a time or an id were left out.")
        empty = [period.label for period in periods if not judged.counts[period.end_s][0, EVENTS]]
        if empty:
            self.notes.append(f"No rows in {_listed(empty)}.")
        partial_periods = [period.label for period in periods if not period.is_whole]
        if partial_periods:
            self.notes.append(
                f"The data covers only a part of {_listed(partial_periods)}: the levels there are insufficient."
            )


# --- production rows --------------------------------------------------------------------------------------------------


class _Sample:
    """Rows of a table for the classifier, evenly spread.

    Attributes:
        events: the rows, in order.
    """

    def __init__(self, n_rows: int) -> None:
        self._rows = sample_rows(n_rows)
        self.events: list[EventColumns] = []

    def add(self, first: int, batch: pa.RecordBatch, served: ServedRows, times: EventTimes) -> None:
        """Add the sampled rows of a batch that begins at a row of the table."""
        lo, hi = np.searchsorted(self._rows, [first, first + batch.num_rows])
        chosen = self._rows[lo:hi]
        chosen = chosen[~times.null[chosen]]
        if len(chosen):
            rows = batch.take(pa.array(chosen - first))
            self.events += served.events(rows, times.at_ms[chosen], times.null[chosen])


@dataclass(frozen=True, slots=True)
class _BatchResult:
    """The counts of one batch."""

    panes: dict[PaneKey, PaneSummary]
    outcomes: OutcomeCounts | None
    sample: _Sample
    n_rejected: int


class _ProductionPass:
    """Reads production once, and counts panes, outcomes and a sample.

    Attributes:
        panes: summaries by pane.
        outcomes: predictions and labels by period; None without scoring rules.
        sample: rows for the classifier.
        n_rejected: rows without time or id.
    """

    def __init__(
        self,
        table: Table,
        served: ServedRows,
        registry: Registry,
        times: EventTimes,
        periods: Sequence[Period],
        rules: Rules | None,
        selected: Mapping[str, str],
    ) -> None:
        self._table, self._served, self._registry, self._times = table, served, registry, times
        self._starts_ms = np.array([period.start_s for period in periods]) * 1000
        self._rules, self._selected = rules, selected
        self.panes: dict[PaneKey, PaneSummary] = {}
        self.outcomes = OutcomeCounts(rules, len(periods)) if rules is not None else None
        self.sample = _Sample(table.rows)
        self.n_rejected = 0

    def read(self, workers: int, *, sampled: bool) -> None:
        """Read all rows."""
        for result in map_in_order(partial(self._count, sampled), self._batches(), workers):
            merge_summaries(self.panes, result.panes)
            if self.outcomes is not None and result.outcomes is not None:
                self.outcomes.merge(result.outcomes)
            self.sample.events += result.sample.events
            self.n_rejected += result.n_rejected

    def _batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        first = 0
        columns = list(dict.fromkeys([*self._served.columns, *self._selected.values()]))
        for batch in self._table.row_batches(columns, BATCH_ROWS):
            yield first, batch
            first += batch.num_rows

    def _count(self, sampled: bool, numbered: tuple[int, pa.RecordBatch]) -> _BatchResult:
        first, batch = numbered
        rows = slice(first, first + batch.num_rows)
        at_ms, null = self._times.at_ms[rows], self._times.null[rows]
        sample = _Sample(self._table.rows)
        if sampled:
            sample.add(first, batch, self._served, self._times)
        rejected = null | ~self._served.has_id(batch)
        if rejected.any():
            batch = batch.filter(pa.array(~rejected))
            at_ms = at_ms[~rejected]
        panes = summarise(self._registry, self._served.events(batch, at_ms, np.zeros(len(at_ms), np.bool_)))
        outcomes = None
        if self._rules is not None:
            outcomes = OutcomeCounts(self._rules, len(self._starts_ms))
            period = np.searchsorted(self._starts_ms, at_ms, "right") - 1
            outcomes.add(period, {name: batch.column(column) for name, column in self._selected.items()})
        return _BatchResult(panes, outcomes, sample, int(rejected.sum()))


def _matrix_column(events: Sequence[EventColumns], source: str, kind: str, field: FieldBaseline) -> FloatArray:
    """Return the sampled values of a field: NaN for null, codes for categories."""
    pieces = []
    for columns in events:
        if field.kind == "category":
            texts = columns.texts.get(source, pa.nulls(len(columns), pa.string()))
            pieces.append(category_codes(texts, field.categories))
            continue
        values = columns.numbers.get(source)
        values = np.full(len(columns), np.nan) if values is None else values
        pieces.append((columns.at_ms - values) / 1000 if kind == "timestamp" else values)
    return np.concatenate(pieces) if pieces else np.empty(0)


# --- a contract that exists -------------------------------------------------------------------------------------------


def _roles_of(contract: Contract, roles: Roles, table: Table) -> Roles:
    """Complete the roles by a contract: its slices, and its fields, none of which may be left out as an id."""
    columns = source_columns_of(contract, roles, table)
    slices = [
        CROSS.join(columns[source] for source in dimension.sources)
        for dimension in contract.slices
        if all(source in columns for source in dimension.sources) and dimension.source != "arm"
    ]
    outputs = {
        role: getattr(roles, role) or columns.get(source)
        for role, source in zip(_OUTPUT_ROLES, ("score", "class", "latency_ms"), strict=True)
    }
    taken = {roles.time, roles.label, *outputs.values()}
    critical = {
        columns[field.source] for field in contract.fields if field.source in columns
    } - taken
    return replace(
        roles, **outputs, slices=tuple(dict.fromkeys([*slices, *roles.slices])), critical=frozenset(critical)
    )


def _baseline_for(contract: Contract, inferred: InferResult, table: str) -> Baseline:
    """Return the baseline of a contract's fields, under their names in the contract.

    Raises:
        CompareError: a field has another type in training than in the contract, or training has none of the fields.
    """
    by_source = {
        field.source: learned
        for field, learned in zip(inferred.contract.fields, inferred.baseline.fields, strict=True)
    }
    fields = []
    for field in contract.fields:
        learned = by_source.get(field.source)
        if learned is None:
            continue
        if (learned.kind == "category") != (field.type == "category"):
            raise CompareError(
                f"The field {field.name} has the type {field.type} in the contract, and {table} has "
                f"{'texts' if learned.kind == 'category' else 'numbers'}: convert the column, or correct the contract."
            )
        fields.append(msgspec.structs.replace(learned, name=field.name))
    if not fields:
        raise CompareError(f"{table} has no column of a field of the contract of {contract.model}.")
    names = {dimension.source: dimension.name for dimension in contract.slices}
    dimensions = tuple(
        msgspec.structs.replace(dimension, name=names.get(dimension.source, dimension.name))
        for dimension in inferred.baseline.dimensions
    )
    renamed = {
        old.name: new.name for old, new in zip(inferred.baseline.dimensions, dimensions, strict=True) if old.name != new.name
    }
    baseline = msgspec.structs.replace(inferred.baseline, model=contract.model, fields=tuple(fields), dimensions=dimensions)
    if not renamed:
        return baseline

    def rename(slice_name: str) -> str:
        name, separator, value = slice_name.partition("=")
        return f"{renamed.get(name, name)}{separator}{value}"

    return msgspec.structs.replace(
        baseline,
        slice_rows={rename(name): n for name, n in baseline.slice_rows.items()},
        fields=tuple(
            msgspec.structs.replace(field, slices={rename(name): counts for name, counts in field.slices.items()})
            for field in fields
        ),
    )


# --- results ----------------------------------------------------------------------------------------------------------


def _phi_name(baseline: Baseline, grain: Grain, span_s: float) -> str:
    """Return the name of the longest learned window length, which is that of the periods or the next shorter one."""
    learned = {name for field in baseline.fields for name in field.slices[ALL].phi}
    windows = [window.name for window in learned_windows(grain, span_s) if window.name in learned]
    return windows[-1] if windows else ""


def _value_hints(contract: Contract, judged: JudgedPeriods, lines: Sequence[FieldSummaryLine]) -> list[Hint]:
    """Compare quantiles in each field's worst period, and all unseen values, with training."""
    series = judged.series
    hidden = {field.name for field in contract.fields if field.pii != "keep"}
    n_rows = sum(int(counts[0, EVENTS]) for counts in judged.counts.values())
    merged: dict[int, MergedRange] = {}
    hints: list[Hint | None] = []
    for line in lines:
        i = series.layout.field_index[line.name]
        field = series.layout.fields[i]
        if field.kind == "category":
            counts = Counter() if line.name in hidden else _unseen_values(series, i)
            hints.append(spelling_hint(field, counts, n_rows) if counts else None)
        elif line.worst is not None:
            end_s = line.worst["end_s"]
            if end_s not in merged:
                merged[end_s] = judged.merged(end_s)
            summary = merged[end_s].numbers.get((0, i))
            hints.append(None if summary is None or summary.sketch is None else unit_hint(field, summary.sketch))
    return [hint for hint in hints if hint is not None]


def _unseen_values(series: Series, field_index: int) -> Counter[str]:
    """Return the most frequent values that training does not contain, with their counts."""
    unseen = UnseenCategories()
    for pane in series.panes.values():
        if pane.sketches[field_index]:
            unseen.merge(UnseenCategories.from_bytes(pane.sketches[field_index]))
    return Counter({item.value: item.estimate for item in unseen.top(MAX_NAMED_UNSEEN)})


def _summaries(
    contract: Contract, baseline: Baseline, judged: JudgedPeriods, periods: Sequence[Period]
) -> list[FieldSummaryLine]:
    drift: dict[str, list[dict[str, Any]]] = {}
    for row in of_all(rows_by_period(judged.drift, periods)):
        drift.setdefault(row["field"], []).append(row)
    rates: dict[str, list[dict[str, Any]]] = {}
    for row in of_all(rows_by_period(judged.rates, periods)):
        rates.setdefault(row["field"], []).append(row)
    critical = {field.name for field in contract.fields if field.critical}
    whole = {period.end_s for period in periods if period.is_whole}
    lines = []
    for i, field in enumerate(baseline.fields):
        of_field = drift.get(field.name, [])
        worst = max(
            of_field, key=lambda row: (SEVERITY[row["level"]], row["end_s"] in whole, row["psi"]), default=None
        )
        of_rates = rates.get(field.name, [])
        worst_rate = max(
            of_rates, key=lambda row: (SEVERITY[row["level"]], row["end_s"] in whole, abs(row["delta"])), default=None
        )
        lines.append(
            FieldSummaryLine(
                field.name,
                field.kind,
                field.name in critical,
                tuple(of_field),
                tuple(row for row in of_rates if row["k"] or row["level"] in ("minor", "major")),
                worst,
                worst_rate,
                None if worst is None else _shares(judged, i, worst),
            )
        )
    return sorted(lines, key=_order)


def _order(line: FieldSummaryLine) -> tuple[Any, ...]:
    """Order fields: the worst level first, critical ones before others, then by PSI."""
    psi = 0.0 if line.worst is None else line.worst["psi"]
    return -SEVERITY[line.level], not line.critical, -psi, line.name


def _shares(judged: JudgedPeriods, field_index: int, row: dict[str, Any]) -> PeriodShares | None:
    bins = judged.series.compiled.bins
    group = bins.groups_in(0).get(field_index)
    if group is None:
        return None
    start = int(bins.starts[group])
    of_group = slice(start, start + int(bins.sizes[group]))
    production = bins.window_bins(judged.counts[row["end_s"]][None])[0, of_group]
    training = bins.base_bins[of_group]
    return PeriodShares(
        row["period"],
        tuple(bins.group_labels(group)),
        tuple((training / max(training.sum(), 1)).tolist()),
        tuple((production / max(production.sum(), 1)).tolist()),
    )


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:6])
    return shown if len(labels) <= 6 else f"{shown} and {len(labels) - 6} more periods"
