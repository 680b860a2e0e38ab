"""The result of a comparison: verdicts of all periods, their summary per field, and their JSON form."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
from barograph.contract import Contract

from barograph_server.batch.compare.classifier import MultivariateDrift
from barograph_server.batch.compare.errors import CompareError
from barograph_server.batch.compare.hints import Hint
from barograph_server.batch.compare.performance import PeriodMetric
from barograph_server.batch.compare.periods import Grain, Period
from barograph_server.batch.skew.compare import MASKED
from barograph_server.plain_values import encode_other
from barograph_server.profiling.infer.files import WrittenFiles
from barograph_server.profiling.infer.infer import InferResult
from barograph_server.sketches.baseline.baseline import ALL, Baseline
from barograph_server.sketches.baseline.bins import NULL_BIN, OTHER_BIN
from barograph_server.terminal import shorten_name

FailLevel = Literal["minor", "major"]

HEADLINE_METRICS = ("accuracy", "auc", "auc_macro", "f1", "f1_macro", "log_loss", "mae", "rmse", "bias")
"""Metrics of the whole model that are shown even if they did not change, the first of them first."""

SEVERITY = {"insufficient": 0, "stable": 1, "minor": 2, "major": 3}
"""Order of levels, for the worst of several. Without a sufficient window the worst is `insufficient`."""


_FLAG_BINS = {"≤ 0": "false", "< 0.5": "false", "≥ 1": "true", "≥ 0.5": "true"}


@dataclass(frozen=True, slots=True)
class ComparedTable:
    name: str
    rows: int
    n_rejected: int = 0
    """Rows without an id or time, which are not counted."""
    first_ms: int | None = None
    """First event time, Unix milliseconds; None without event times."""
    last_ms: int | None = None


@dataclass(frozen=True, slots=True)
class PeriodShares:
    """The distribution of a field in one period beside that of training."""

    period: str
    labels: tuple[str, ...]
    training: tuple[float, ...]
    production: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FieldVerdicts:
    name: str
    kind: str
    """`numeric` or `category`."""
    critical: bool
    drift: tuple[dict[str, Any], ...]
    """Rows of `drift`, one per period with rows, ascending."""
    rates: tuple[dict[str, Any], ...]
    """Rows of `rates` that are not stable, or whose rate is not zero."""
    worst: dict[str, Any] | None
    """The row of `drift` with the worst level, of several a whole period with the largest PSI."""
    worst_rate: dict[str, Any] | None
    """The row of `rates` with the worst level, of several a whole period with the largest change."""
    shares: PeriodShares | None
    """The distribution in the period of `worst`."""
    new_values: tuple[str, ...] = ()
    """The most frequent categories that training does not contain; none of a field with personal data."""

    @property
    def level(self) -> str:
        """The worst level of drift and rates; `stable` only if drift was judged."""
        level = worst_level([row["level"] for row in (self.worst, self.worst_rate) if row is not None])
        return level if level != "stable" or self.is_judged else "insufficient"

    @property
    def is_judged(self) -> bool:
        """Whether the drift of a period has a level."""
        return self.worst is not None and self.worst["level"] != "insufficient"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Production compared with training."""

    training: ComparedTable
    production: ComparedTable
    contract: Contract
    baseline: Baseline
    grain: Grain
    periods: tuple[Period, ...]
    events: tuple[int, ...]
    """Rows of each period."""
    phi_window: str
    """The window length whose φ is used; empty if φ is unknown."""
    drift: pa.Table
    """Rows as in the table `drift`, of all slices and periods."""
    rates: pa.Table
    """Rows as in the table `rates`."""
    distances: pa.Table
    """Rows as in the table `distances`."""
    performance: tuple[PeriodMetric, ...]
    hints: tuple[Hint, ...]
    notes: tuple[str, ...]
    """Limits of the comparison."""
    multivariate: MultivariateDrift | None
    fields: tuple[FieldVerdicts, ...]
    """Worst first."""
    inferred: InferResult | None = field(default=None, repr=False)
    """Contract and baseline as inferred from training; None if the contract was passed."""

    @cached_property
    def level(self) -> str:
        """The worst level of all fields in the slice `all`, and of the performance of the whole model.

        It is `stable` only if the drift of a field was judged, and that of each critical one.
        """
        levels = [line.level for line in self.fields]
        level = worst_level([*levels, *(metric.level for metric in self.performance if not metric.class_name)])
        return "insufficient" if level == "stable" and self._unjudged else level

    @property
    def _unjudged(self) -> list[str]:
        """The fields that lack a verdict on drift: all, or those that are critical."""
        is_any_judged = any(line.is_judged for line in self.fields)
        return [line.name for line in self.fields if not line.is_judged and (line.critical or not is_any_judged)]

    @cached_property
    def cause(self) -> str:
        """Name what has the worst level, or why there is no verdict; empty if nothing changed.

        A metric comes first, since users notice it, then a field.
        """
        if self.level == "insufficient":
            if not any(period.is_whole for period in self.periods):
                return f"the data covers no whole {self.grain}: choose shorter periods, or --by all"
            named = ", ".join(shorten_name(name) for name in self._unjudged[:8])
            return f"no period has enough independent rows of {named}: compare more rows, or longer periods"
        if self.level not in ("minor", "major"):
            return ""
        causes = []
        metrics = [each for each in self.performance if each.level == self.level and not each.class_name]
        if metrics:
            name = next((name for name in HEADLINE_METRICS if name in {m.metric for m in metrics}), metrics[0].metric)
            of_name = [each for each in metrics if each.metric == name]
            worst = max(of_name, key=lambda each: 0.0 if math.isnan(each.change) else abs(each.change))
            before = f" instead of {worst.training:.3f}" if math.isfinite(worst.training) else ""
            causes.append(f"{name} {worst.value:.3f}{before} in {worst.period}")
        rows = [
            f"{name or row['kind']} of {line.name} in {row['period']}"
            for line in self.fields
            for row, name in ((line.worst, "PSI"), (line.worst_rate, ""))
            if row is not None and row["level"] == self.level
        ]
        return "; ".join([*causes, *rows[:1]])

    def count(self, level: str) -> int:
        return sum(line.level == level for line in self.fields)

    def fails_at(self, level: FailLevel) -> bool:
        return SEVERITY[self.level] >= SEVERITY[level]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values for JSON; numbers that are not finite are None, times are Unix seconds."""
        values: dict[str, Any] = msgspec.json.decode(self.to_json())
        return values

    def to_json(self) -> str:
        values = {
            "format": 1,
            "model": self.contract.model,
            "contract_id": self.contract.id,
            "baseline_id": self.baseline.id,
            "training": self.training,
            "production": self.production,
            "by": self.grain,
            "phi_window": self.phi_window,
            "level": self.level,
            "periods": [{**asdict(period), "n": n} for period, n in zip(self.periods, self.events, strict=True)],
            "fields": [
                {"field": line.name, "kind": line.kind, "critical": line.critical, "level": line.level}
                for line in self.fields
            ],
            **{
                name: rows_by_period(table, self.contract, self.periods)
                for name, table in (("drift", self.drift), ("rates", self.rates), ("distances", self.distances))
            },
            "performance": self.performance,
            "multivariate": self.multivariate,
            "hints": self.hints,
            "notes": self.notes,
        }
        return msgspec.json.encode(values, enc_hook=encode_other).decode()

    def write_contract(self, folder: str | Path, *, force: bool = False) -> WrittenFiles:
        """Write the inferred contract and baseline as `barograph infer` does.

        Args:
            folder: is created if it is missing.
            force: whether to overwrite files with different content.

        Raises:
            CompareError: the contract was not inferred.
            ExistsError: a file exists with different content, and `force` is false.
        """
        if self.inferred is None:
            raise CompareError("The contract was passed, so there is none to write.")
        return self.inferred.write_contract(folder, force=force)


def masked_fields(contract: Contract) -> frozenset[str]:
    """Return the categories that are personal data, whose values are not shown."""
    return frozenset(field.name for field in contract.fields if field.type == "category" and field.pii != "keep")


def rows_by_period(table: pa.Table, contract: Contract, periods: Sequence[Period]) -> list[dict[str, Any]]:
    """Return rows of verdicts with the label of their period, without the columns that only the pipeline needs.

    Values of personal data are masked.
    """
    masked = masked_fields(contract)
    flags = {field.name for field in contract.fields if field.type == "bool"}
    labels = {period.end_s: period.label for period in periods}
    dropped = {"model", "version", "baseline_id", "window", "judged_at", "record_seq", "completeness"}
    rows = []
    for row in table.drop_columns([name for name in table.column_names if name in dropped]).to_pylist():
        start_s, end_s = (int(row.pop(name).timestamp()) for name in ("window_start", "window_end"))
        if row["field"] in masked and row.get("top_bin") not in (None, "", OTHER_BIN, NULL_BIN):
            row["top_bin"] = MASKED
        elif row["field"] in flags and "top_bin" in row:
            row["top_bin"] = flag_label(row["top_bin"])
        rows.append({"period": labels[end_s], "start_s": start_s, "end_s": end_s, **row})
    return rows


def flag_label(label: str) -> str:
    """Name a bin of a flag, whose values are counted as 0 and 1."""
    return _FLAG_BINS.get(label, label)


def worst_level(levels: Sequence[str]) -> str:
    """Return the worst of some levels; `insufficient` for none."""
    return max(levels, key=SEVERITY.__getitem__, default="insufficient")


def unsliced_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["slice"] == ALL]
