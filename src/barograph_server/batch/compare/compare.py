"""Compares production with training: infers contract and baseline, counts, judges and measures in this process."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from barograph.contract import Contract
from barograph.publisher.tables import as_table, unread_labels
from barograph.values import InvalidEvent

from barograph_server.batch.backfill.check import describe_unread
from barograph_server.batch.backfill.files import csv_types
from barograph_server.batch.check import ContractOrPath, contract_of
from barograph_server.batch.compare.classifier import MISSING, MultivariateDrift, classify, common_categories
from barograph_server.batch.compare.declared import complete_roles, declared_roles, rename_baseline
from barograph_server.batch.compare.errors import CompareError
from barograph_server.batch.compare.hints import column_hints
from barograph_server.batch.compare.html import CompareReport
from barograph_server.batch.compare.outcomes import OutcomeCounts, outcome_columns
from barograph_server.batch.compare.panes import JudgedPeriods, judge_periods, make_registry
from barograph_server.batch.compare.performance import PeriodMetric, compare_performance
from barograph_server.batch.compare.periods import (
    Grain,
    Period,
    choose_grain,
    learned_windows,
    make_periods,
    pane_length_s,
)
from barograph_server.batch.compare.production import ProductionPass, RowSample, loss_cells, matrix_column, numbered
from barograph_server.batch.compare.report import ComparedTable
from barograph_server.batch.compare.served import (
    OUTPUT_ROLES,
    EventTimes,
    ServedRows,
    error_column_of,
    read_event_times,
    source_columns_of,
)
from barograph_server.batch.compare.summaries import summarise_fields, value_hints
from barograph_server.profiling.infer.errors import OptionError
from barograph_server.profiling.infer.infer import DEFAULTS, InferOptions, InferResult, infer_table
from barograph_server.profiling.infer.loss import LearnedLoss
from barograph_server.profiling.infer.profile import Roles, check_roles, score_columns
from barograph_server.profiling.infer.tables import Table, memory_table, open_table
from barograph_server.profiling.table_columns import declared_types, with_columns
from barograph_server.sketches.baseline.baseline import ALL, Baseline
from barograph_server.sketches.baseline.layout import EVENTS
from barograph_server.streams.events.projection import build_projection
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.scorer.estimates import CLASS_DIFFERS
from barograph_server.streams.scorer.rules import make_rules, unmeasurable_reason
from barograph_server.terminal import plural
from barograph_server.warehouse.scoring.rules import Rules

MAX_WORKERS = 4
_TRAINING, _PRODUCTION = "the training table", "the production table"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    roles: Roles = field(default_factory=Roles)
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
    contract: ContractOrPath | None = None,
    slices: Sequence[str] = (),
    scores: str | None = None,
    latency: str | None = None,
    model: str = "model",
    version: str = "1",
    multivariate: bool = True,
    on_step: Callable[[str], None] = lambda step: None,
) -> CompareReport:
    """Compare production data with training data, without Kafka and ClickHouse.

    The verdicts are those of the pipeline: the same contract, sketches, thresholds and intervals.

    Args:
        train: The training data: a path of a Parquet, CSV or Arrow file, or a table (pandas, polars, pyarrow, …).
        prod: The production data, in the same forms.
        time: The column of event times; without it all production rows are one period and φ is unknown. With a
            contract, this and the other columns are by default those of its `columns`.
        label: The column of the ground truth. Production may lack it, or have nulls.
        id: The column of ids, which is not a field; rows without an id are left out, as by the publisher.
        by: `month`, `week`, `day`, `hour` (calendar periods in UTC) or `all`; by default chosen by the time span.
        contract: A contract, or the path of its file; by default it is inferred from the training data.
        slices: Columns whose values are judged separately; `a * b` crosses two.
        scores: The prefix of the columns of class probabilities, `scores.` by default.
        latency: The column of latencies in milliseconds.
        model: The name of the model in an inferred contract.
        multivariate: Whether to train a classifier that tells production from training (with scikit-learn).

    Raises:
        CompareError: the tables cannot be compared.
        InferError: a table cannot be read, or an argument names no fitting column.
        ContractError: the contract cannot be read.
    """
    roles = Roles(
        id=id, time=time, score=score, class_=class_, label=label, latency=latency, scores=scores, slices=tuple(slices)
    )
    options = CompareOptions(
        roles=roles,
        by=by,
        contract=None if contract is None else contract_of(contract),
        model=model,
        version=version,
        is_multivariate=multivariate,
    )
    with ExitStack() as stack:
        types = None
        if options.contract is not None:
            columns = with_columns(options.contract, id=id, score=score, class_=class_, label=label, latency=latency)
            types = declared_types(csv_types(options.contract), columns.columns)

        def open_data(data: Any, name: str) -> Table:
            if isinstance(data, str | Path):
                return stack.enter_context(open_table(Path(data), types))
            try:
                table = as_table(data)
            except InvalidEvent as error:
                raise CompareError(f"{name}: {error}.") from error
            return memory_table(name, table)

        return compare_tables(open_data(train, _TRAINING), open_data(prod, _PRODUCTION), options, on_step)


def compare_tables(
    training: Table, production: Table, options: CompareOptions, on_step: Callable[[str], None] = lambda step: None
) -> CompareReport:
    """Compare two open tables.

    Raises:
        CompareError: the tables cannot be compared.
        InferError: a table cannot be read, or an option does not fit.
    """
    return _Comparer(training, production, options, on_step).run()


class _Comparer:
    def __init__(
        self, training: Table, production: Table, options: CompareOptions, on_step: Callable[[str], None]
    ) -> None:
        self.on_step = on_step
        self.training, self.production = training, production
        self.notes: list[str] = []
        if options.contract is not None:
            roles, self.notes = declared_roles(options.contract, options.roles, training, production)
            options = replace(options, roles=roles)
        self.options = options
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
        self._check_labels(contract, rules)
        projection = build_projection(registry, contract.model)
        rows = ProductionPass(
            self.production,
            ServedRows(
                *(counting, baseline.version, columns, options.roles.id, projection),
                error_column_of(columns, self.production),
            ),
            registry,
            times,
            periods,
            rules,
            outcome_columns(rules, columns, options.roles.label if self._has(self.production, "label") else None),
        )
        self.on_step(f"counting {self.production.name}")
        rows.read(self.workers, sampled=options.is_multivariate)
        phi_name = longest_learned(baseline, grain, times.span_s)
        self.on_step("judging")
        judged = judge_periods(registry, counting, rows.panes, periods, phi_name)
        performance = self._performance(contract, registry, rules, rows, periods, inferred.loss)
        self._add_notes_on_estimates(performance, contract, inferred)
        multivariate = self._multivariate(contract, baseline, registry, rows) if options.is_multivariate else None
        hints = column_hints(contract, columns, self.training, self.production)
        lines = summarise_fields(contract, baseline, judged, periods)
        hints += value_hints(contract, judged, lines)
        self._add_notes(rows, periods, judged)
        self._add_notes_on_tables(contract, columns, times, inferred)
        self.notes += inferred.warnings
        span_ms = () if options.roles.time is None else (times.first_ms, times.last_ms)
        training, production = self.training, self.production
        return CompareReport(
            training=ComparedTable(training.name, training.rows, 0, *(inferred.period_ms or ())),
            production=ComparedTable(production.name, production.rows, rows.n_rejected, *span_ms),
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
            OptionError: a column does not exist, or cannot be used.
        """
        roles = self.options.roles
        if self._has(self.production, "label") or self._has(self.training, "label"):
            checked = self._roles_in(self.production)
        else:
            checked = roles
        check_roles(self.production, replace(checked, id=roles.id, time=roles.time, slices=()))
        if roles.label is not None and not self._has(self.production, "label"):
            self.notes.append(f"{self.production.name} has no column {roles.label}: performance is only estimated.")
        self.notes += [
            f"{self.production.name} has no column {getattr(roles, role)}: it counts as null."
            for role in OUTPUT_ROLES
            if getattr(roles, role) is not None and not self._has(self.production, role)
        ]
        for role in ("time", "label", *OUTPUT_ROLES):
            column = getattr(roles, role)
            if column is None or self._has(self.training, role):
                continue
            reason = {"time": "φ is unknown", "label": "performance has no reference"}.get(role, "its drift is unknown")
            self.notes.append(f"{self.training.name} has no column {column}: {reason}.")

    def _has(self, table: Table, role: str) -> bool:
        return getattr(self.options.roles, role) in table.columns

    def _roles_in(self, table: Table) -> Roles:
        """Return the roles without columns that a table lacks."""
        absent: dict[str, Any] = {
            role: None for role in ("id", "time", "label", *OUTPUT_ROLES) if not self._has(table, role)
        }
        return replace(self.options.roles, **absent)

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
        table = self.training
        if declared is not None:
            roles = complete_roles(declared, roles, table)
        settings = declared or DEFAULTS
        infer_options = InferOptions(
            table=Path(table.name),
            model=options.model if declared is None else declared.model,
            version=options.version,
            roles=roles,
            windows=None if declared is None else declared.windows,
            phi_windows=learned_windows(grain, times.span_s),
            timezone=settings.timezone,
            season=settings.season,
        )
        self.on_step(f"reading {table.name}")
        try:
            inferred = infer_table(
                table, infer_options, lambda column: self.on_step(f"reading {column}"), workers=self.workers
            )
        except OptionError as error:
            # The text may not name the table, and here there are two.
            text = str(error) if table.name in str(error) else f"{table.name}: {error}"
            raise CompareError(f"{text.rstrip('.')}.") from error
        if declared is None:
            return inferred.contract, inferred.baseline, inferred
        return declared, rename_baseline(declared, inferred, table.name), inferred

    def _check_labels(self, contract: Contract, rules: Rules | None) -> None:
        """Check that each label is a form of a value of the contract, as `load` does.

        Raises:
            CompareError: labels are not; the text says how many.
        """
        column, label = self.options.roles.label, contract.label
        if rules is None or column is None or label is None:
            return
        for table in (self.training, self.production):
            if not self._has(table, "label"):
                continue
            unread: Counter[str] = Counter()
            try:
                for values in table.batches(column):
                    unread.update(unread_labels(label, values))
            except InvalidEvent as error:
                raise CompareError(f"{table.name}: {error}.") from error
            if unread:
                raise CompareError(f"{table.name}: {describe_unread(label, column, unread)}")

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
        rows: ProductionPass,
        periods: Sequence[Period],
        loss: LearnedLoss | None,
    ) -> list[PeriodMetric]:
        if rules is None or rows.outcomes is None:
            return []
        self.on_step("measuring performance")
        training = None
        columns = source_columns_of(contract, self._roles_in(self.training), self.training)
        selected = outcome_columns(rules, columns, self.options.roles.label)
        if self._has(self.training, "label") and len(selected) > 1:
            counts = OutcomeCounts(rules, 1)
            served = self._served_training(contract, registry, columns)
            names = [*selected.values(), *(served.columns if rules.losses else ())]
            for first, batch in numbered(self.training.row_batches(list(dict.fromkeys(names)))):
                period = np.zeros(batch.num_rows, np.int64)
                outputs = {name: batch.column(column) for name, column in selected.items()}
                events = served.events(batch, period, period > 0) if rules.losses else ()
                cells = loss_cells(rules.losses, list(events), outputs)
                if cells is not None and loss is not None:
                    # Trees know the rows that they were trained on too well.
                    lo, hi = np.searchsorted(loss.rows, [first, first + batch.num_rows])
                    cells[loss.rows[lo:hi] - first] = loss.held_out[lo:hi]
                counts.add(period, outputs, cells)
            training = counts.counts()
        labels = [period.label for period in periods]
        return compare_performance(contract, rules, labels, training, rows.outcomes.counts())

    def _served_training(self, contract: Contract, registry: Registry, columns: Mapping[str, str]) -> ServedRows:
        projection = build_projection(registry, contract.model)
        return ServedRows(contract, self.options.version, columns, None, projection)

    def _multivariate(
        self, contract: Contract, baseline: Baseline, registry: Registry, rows: ProductionPass
    ) -> MultivariateDrift | None:
        self.on_step("training a classifier")
        learned = {field.name: field for field in baseline.fields}
        fields = [
            field
            for field in contract.fields
            if field.name in learned and field.source.partition(".")[0] in ("features", "context")
        ]
        columns = source_columns_of(contract, self._roles_in(self.training), self.training)
        served = self._served_training(contract, registry, columns)
        time = self.options.roles.time if self._has(self.training, "time") else None
        try:
            import sklearn  # noqa: F401

            times = read_event_times(self.training, time)
            training = RowSample(self.training.rows)
            for first, batch in numbered(self.training.row_batches(served.columns)):
                training.add(first, batch, served, times)
            before, after = (
                [matrix_column(sample.events, field.source, field.type, learned[field.name]) for field in fields]
                for sample in (training, rows.sample)
            )
            sizes = [len(common_categories(learned[field.name])) if field.type == "category" else 0 for field in fields]
            return classify([field.name for field in fields], before, after, sizes)
        except ImportError:
            self.notes.append(MISSING)
            return None

    def _add_notes(self, rows: ProductionPass, periods: Sequence[Period], judged: JudgedPeriods) -> None:
        if rows.n_rejected:
            rejected = plural(rows.n_rejected, "row")
            self.notes.append(f"{rejected} of {self.production.name} without a time or an id were left out.")
        empty = [period.label for period in periods if not judged.counts[period.end_s][0, EVENTS]]
        if empty:
            self.notes.append(f"No rows in {_listed(empty)}.")
        partial_periods = [period.label for period in periods if not period.is_whole]
        if partial_periods:
            labels = _listed(partial_periods)
            self.notes.append(f"The data covers only a part of {labels}: the levels of drift there are insufficient.")

    def _add_notes_on_estimates(
        self, performance: Sequence[PeriodMetric], contract: Contract, inferred: InferResult
    ) -> None:
        """Note which metrics are not estimated and why, and a threshold of the contract that is not the class's."""
        for reason in dict.fromkeys(metric.estimate_reason for metric in performance if metric.estimate_reason):
            refused = [metric for metric in performance if metric.estimate_reason == reason]
            metrics, labels = (
                list(dict.fromkeys(names)) for names in zip(*((m.metric, m.period) for m in refused), strict=True)
            )
            self.notes.append(f"Not estimated in {_listed(labels)}: {_listed(metrics, 'metrics')} ({reason}).")
            declared, learned = contract.label, inferred.contract.label
            if reason != CLASS_DIFFERS or declared is None or learned is None:
                continue
            has_both = self._has(self.training, "class_") and self._has(self.training, "score")
            if has_both and declared.threshold != learned.threshold:
                self.notes.append(
                    f"The contract's label has the threshold {declared.threshold:g}, but the class of "
                    f"{self.training.name} is the score at or above {learned.threshold:g}: correct the threshold."
                )

    def _add_notes_on_tables(
        self, contract: Contract, columns: Mapping[str, str], times: EventTimes, inferred: InferResult
    ) -> None:
        """Note how PROD was read, which of its columns are not compared, and that the tables may be exchanged."""
        training, production, roles = self.training, self.production, self.options.roles
        if production.note:
            self.notes.append(f"{production.name}: {production.note}.")
        known = {*columns.values(), *contract.ignored, *(column for _, column in roles.list_options())}
        known |= set(score_columns(production, roles).values())
        if self.options.contract is None:
            known |= {*training.columns, *training.unreadable}
        others = [name for name in (*production.columns, *production.unreadable) if name not in known]
        if others:
            missing_in = training.name if self.options.contract is None else "the contract"
            self.notes.append(f"Not compared, because {missing_in} has no such column: {_listed(others, 'columns')}.")
        is_later = inferred.period_ms is not None and inferred.period_ms[0] > times.last_ms
        if roles.time is not None and is_later:
            self.notes.append(
                f"All rows of {training.name} are later than those of {production.name}: if the two tables are "
                "exchanged, name the training data first."
            )


def longest_learned(baseline: Baseline, grain: Grain, span_s: float) -> str:
    """Return the name of the longest learned window length, which is that of the periods or the next shorter one."""
    learned = {name for field in baseline.fields for name in field.slices[ALL].phi}
    windows = [window.name for window in learned_windows(grain, span_s) if window.name in learned]
    return windows[-1] if windows else ""


def _listed(labels: Sequence[str], what: str = "periods") -> str:
    shown = ", ".join(labels[:6])
    return shown if len(labels) <= 6 else f"{shown} and {len(labels) - 6:,} more {what}"
