"""Baseline: the frozen summary of the training data with which windows are compared.

Its id is the hash of its content, so a baseline never changes: other content is another baseline.
"""

from __future__ import annotations

import math
import operator
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Literal, cast

import msgspec
from barograph.contract import CROSS, content_hash

from barograph_server.sketches.baseline.columns import NEWER_KEYS, TAIL_COLUMNS, TAIL_KEYS, FieldColumn
from barograph_server.sketches.baseline.loss_trees import LossTrees, loss_tree_problems

FORMAT = 1
ALL = "all"
"""The slice of all events."""
OTHER = "other"
"""Value of a slice dimension that collects all values without their own slice."""

QUANTILE_RANKS = 1001
"""Number of exact quantiles of a numeric field, at ranks 0, 0.001, … 1: a rank error of at most 0.0005 + 1/m."""

RARE_DIVISOR = 200
"""A category belongs to the bin `other` when its baseline count times this is under m: its share is under 0.5 %."""

HOURS_OF_WEEK = 168
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
HOUR_NAMES = tuple(f"{day + 1} {_DAYS[day]} {hour:02d}" for day in range(7) for hour in range(24))
"""Names of the hours of the week in a baseline: `1 Mon 00` to `7 Sun 23`."""

PhiFlag = Literal["ok", "rough", "shorter", "unknown"]


class Phi(msgspec.Struct, frozen=True):
    """Overdispersion of one field and slice at one window length: T is φ·χ²_ν."""

    value: float = 1.0
    windows: int = 0
    flag: PhiFlag = "unknown"
    nu: float = 0.0
    """ν, in steps of 1/4; 0: the degrees of freedom of the bins, as in baselines that were made before ν."""
    mean_sd: float | None = None
    """Standard deviation of the mean rank between windows, less that of independent events; None if it is not known."""
    mean_autocorrelation: float = 0.0
    """Autocorrelation of the mean rank from one window to the next, from 0 to .95."""


class TrainingRate(msgspec.Struct, frozen=True):
    """How a rate of one field and slice varied between training windows of one length."""

    phi: float = 1.0
    """Overdispersion of its count, at least 1."""
    delta: float = 0.0
    """Lower end of the interval of the change from training that windows repeatedly reached; at least 0."""


class SliceCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Training counts of one field in one slice.

    `cells` has the layout of `FieldBaseline.n_cells`: for numeric fields one count per bin, then `null`; for category
    fields one count per category, then `unseen` (rows of categories that are not kept), then `null`. A count that did
    not exist yet when the baseline was made is None: unknown, and compared with nothing. It is their default.
    """

    cells: tuple[int, ...]
    invalid: int = 0
    below: int | None = 0
    above: int | None = 0
    singletons: int = 0
    """Rows of kept categories that would be unseen if training lacked that row: categories with one row, and if not all
    are kept, those that are kept by one row. Together with the unseen rows of training they are the expected number of
    unseen rows later (Good–Turing, by leaving one out)."""
    noise: float = 0.0
    """1/n_eff of bins whose rows were not counted but read from a sketch: their shares have the error of a sample of
    n_eff values (`sketches.comparison.rebin`). 0 if the rows were counted. `null` and the tail are always counted."""
    phi: dict[str, Phi] = {}
    """By window name."""
    rates: dict[str, dict[str, TrainingRate]] = {}
    """By window name and kind of rate; a rate that did not vary more than chance is omitted. A window name is missing
    if the rates were not learned."""

    @classmethod
    def from_columns(
        cls, columns: Sequence[int], singletons: int = 0, before: SliceCounts | None = None
    ) -> SliceCounts:
        """Make the counts of a field from its columns of the layout; what an earlier baseline lacks stays unknown."""
        n_cells = len(columns) - len(TAIL_KEYS)
        tail: dict[str, Any] = dict(zip(TAIL_KEYS, columns[n_cells:], strict=True))
        tail |= {key: None for key in TAIL_KEYS if before is not None and getattr(before, key) is None}
        return cls(cells=tuple(columns[:n_cells]), singletons=singletons, **tail)

    def count(self, column: FieldColumn) -> int | None:
        """Return one count of the field; None if it is unknown."""
        if column < 0:
            return self.cells[column]
        count: int | None = getattr(self, column.key)
        return count

    def expected(self, column: FieldColumn) -> int | None:
        """Return one count as expected in as many later rows: `unseen` includes the singletons. None if unknown."""
        count = self.count(column)
        return self.cells[column] + self.singletons if column is FieldColumn.UNSEEN else count


assert set(TAIL_KEYS) <= set(SliceCounts.__struct_fields__), "a baseline holds every count of the layout"


class FieldBaseline(msgspec.Struct, frozen=True, kw_only=True):
    """Baseline of one field: frozen bins and their training counts."""

    name: str
    kind: Literal["numeric", "category"]
    integer: bool = False
    """Whether values are whole numbers or large, and so sketched in doubles."""
    edges: tuple[float, ...] = ()
    """Numeric: ascending inner edges, bin i holds edges[i-1] <= x < edges[i]; the outer bins are open."""
    categories: tuple[str, ...] = ()
    low: float | None = None
    """Lower limit: the contract's, else training's minimum. Smaller values count as `below` and in the outer bin."""
    high: float | None = None
    mean: float = 0.0
    """Mean of valid training values, and center of the moments of panes."""
    std: float = 0.0
    quantiles: tuple[float, ...] = ()
    """Numeric: `QUANTILE_RANKS` quantiles; empty without valid values."""
    quantile_error: float = 0.0
    """Rank error of the quantiles, as a share with 99 % confidence, if they were read from a sketch; 0 if exact."""
    hours_of_week: dict[str, tuple[int, ...]] = {}
    """Training rows per hour of the week (`HOUR_NAMES`) and PSI bin of the slice `all`, in the order of `fold`; hours
    without rows are omitted. Rows without event time are in no hour. Other slices use the counts of the whole week."""
    slices: dict[str, SliceCounts]
    """By slice name, `all` among them."""

    @property
    def n_cells(self) -> int:
        """Number of cells for PSI: bins or categories and `unseen`, then `null`."""
        return len(self.edges) + 2 if self.kind == "numeric" else len(self.categories) + 2

    @property
    def has_sketched_bins(self) -> bool:
        """Whether the rows of bins were read from sketches in some slice, and not counted."""
        return any(counts.noise for counts in self.slices.values())

    def bin_of_cell(self) -> tuple[int, ...]:
        """Return the PSI bin of each cell in the slice `all`; `null`, the last cell, is the last bin.

        Numeric fields have a bin per cell; category fields one per category with at least 0.5 % of training, then
        `other`, then `null`.
        """
        if self.kind == "numeric":
            return tuple(range(self.n_cells))
        cells = self.slices[ALL].cells
        rows = sum(cells)
        alone = [events * RARE_DIVISOR >= rows for events in cells[:-2]]
        numbers, other = count(), sum(alone)
        return (*(next(numbers) if own else other for own in alone), other, other + 1)

    def fold(self, cells: Sequence[int]) -> tuple[int, ...]:
        """Sum counts of cells of the slice `all` into PSI bins."""
        of_cell = self.bin_of_cell()
        bins = [0] * (of_cell[-1] + 1)
        for index, events in zip(of_cell, cells, strict=True):
            bins[index] += events
        return tuple(bins)


class SliceValues(msgspec.Struct, frozen=True, kw_only=True):
    """The frozen values of one slice dimension."""

    name: str
    source: str
    values: tuple[str, ...]
    """Values with their own slice; all others are `NAME=other`."""
    trained: bool
    """Whether training has the dimension; otherwise its slices are compared with the slice `all`."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The crossed sources; a single one if nothing is crossed."""
        return tuple(self.source.split(CROSS))


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    model: str
    version: str
    rows: int
    slice_rows: dict[str, int]
    """Training rows per slice name, `all` among them."""
    dimensions: tuple[SliceValues, ...] = ()
    timezone: str = ""
    """Time zone of the fields' `hours_of_week`; empty if there are none."""
    fields: tuple[FieldBaseline, ...]
    loss: LossTrees | None = None
    """How large errors of predicted numbers are expected to be; None if `infer` trained no trees."""
    source: str = ""
    """Origin: a file's name, or production panes with their range and reason."""

    @property
    def id(self) -> str:
        """The hash of the content: 16 hexadecimal digits."""
        return content_hash(self)


def for_counting(baseline: Baseline) -> Baseline:
    """Return a baseline without the parts that only verdicts need: training counts, quantiles, hours of the week.

    It has all bins, limits and slices. Its `id` differs from that of the complete baseline.
    """
    fields = tuple(
        msgspec.structs.replace(field, quantiles=(), hours_of_week={}, slices={}) for field in baseline.fields
    )
    return msgspec.structs.replace(baseline, fields=fields, loss=None)


def for_judging(baseline: Baseline) -> Baseline:
    """Return a baseline whose quantiles take 8 bytes each instead of Python's 32: 2,000 fields have two million.

    The quantiles are read as before but cannot be encoded, so do not write the result or ask for its `id`.
    """
    fields = tuple(
        msgspec.structs.replace(field, quantiles=cast(tuple[float, ...], array("d", field.quantiles)))
        for field in baseline.fields
    )
    return msgspec.structs.replace(baseline, fields=fields)


class BaselineError(ValueError):
    """A file is not a baseline, or a baseline is inconsistent."""


class _Header(msgspec.Struct):
    """The format, read first because other formats may have any other content."""

    format: int


class _AnyFormat(msgspec.Struct):
    baseline: _Header


class _BaselineFile(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    baseline: Baseline


def dump_baseline(baseline: Baseline) -> bytes:
    """Serialize a baseline as JSON that people can read and diff.

    Each member has its own line, and so has each row of numbers.

    Raises:
        BaselineError: the baseline is inconsistent, or has values that JSON would change (NaN, a whole number in place
            of a float), so that reading it would give another id.
    """
    _refuse(baseline_problems(baseline), f"the baseline of {baseline.model} {baseline.version}")
    data = msgspec.json.encode(_BaselineFile(baseline.id, baseline), order="deterministic")
    try:
        is_stable = msgspec.json.decode(data, type=_BaselineFile).baseline.id == baseline.id
    except msgspec.ValidationError as error:
        raise BaselineError(f"the baseline of {baseline.model} {baseline.version} cannot be written: {error}") from None
    if not is_stable:
        raise BaselineError(
            f"the baseline of {baseline.model} {baseline.version} changes its id when written and read: it "
            "has a whole number in place of a float; convert it"
        )
    return _ABSENT.sub(b"", _NUMBER_ROW.sub(_on_one_line, msgspec.json.format(data, indent=2))) + b"\n"


def load_baseline(data: bytes, name: str) -> Baseline:
    """Read the bytes of `dump_baseline`.

    Args:
        name: name of the file, for messages.

    Raises:
        BaselineError: the bytes are no baseline, have another format, were changed by hand, or are inconsistent.
    """
    try:
        version = msgspec.json.decode(data, type=_AnyFormat).baseline.format
        if version != FORMAT:
            raise BaselineError(
                f"{name}: the baseline has format {version}, this Barograph reads format {FORMAT}; run "
                "`barograph infer` again, or upgrade"
            )
        file = msgspec.json.decode(data, type=_BaselineFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BaselineError(f"{name}: this is not a baseline file: {error}") from None
    _refuse(baseline_problems(file.baseline), name)
    if file.id != file.baseline.id:
        raise BaselineError(
            f"{name}: the file says id {file.id}, its content has {file.baseline.id}: it was changed by "
            "hand. Baselines are frozen: create a new one with `barograph infer`"
        )
    return file.baseline


_NUMBER_ROW = re.compile(rb"\[\n[\s\d.,eE+-]*\]")
"""An array of numbers over several lines. It matches nothing within a string, where JSON escapes line ends."""
_DEFAULTS = {
    **{
        "hours_of_week": "{}",
        "timezone": '""',
        "loss": "null",
        "noise": "0.0",
        "quantile_error": "0.0",
        "nu": "0.0",
        "rates": "{}",
    },
    **dict.fromkeys(NEWER_KEYS, "null"),
}
_ABSENT = re.compile(
    "|".join(
        rf'\n *"{name}": {re.escape(value)},|,\n *"{name}": {re.escape(value)}(?=\n)'
        for name, value in _DEFAULTS.items()
    ).encode()
)
"""Members that few baselines have, at their defaults: a file omits them."""


def _on_one_line(match: re.Match[bytes]) -> bytes:
    return b"[" + b", ".join(match.group()[1:-1].replace(b",", b" ").split()) + b"]"


def _refuse(problems: list[str], name: str) -> None:
    if problems:
        shown = "; ".join(problems[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise BaselineError(f"{name}: the baseline is inconsistent: {shown}{more}")


def baseline_problems(baseline: Baseline) -> list[str]:
    problems = [f"{member} is empty" for member in ("model", "version") if not getattr(baseline, member)]
    if baseline.slice_rows.get(ALL) != baseline.rows:
        problems.append(f"slice_rows must hold `{ALL}` with all {baseline.rows} rows")
    problems += [f"slice {name} has {rows} rows" for name, rows in baseline.slice_rows.items() if rows < 0]
    problems += [f"dimension {name} is repeated" for name in _repeated(d.name for d in baseline.dimensions)]
    known = {ALL}
    for dimension in baseline.dimensions:
        # A value called `other` would have the name of the slice of remaining values.
        values = (*dimension.values, OTHER)
        problems += [f"dimension {dimension.name}: value {value!r} is repeated" for value in _repeated(values)]
        known.update(f"{dimension.name}={value}" for value in values)
    problems += [f"slice {name} belongs to no dimension" for name in baseline.slice_rows if name not in known]
    problems += [f"field {name} is repeated" for name in _repeated(field.name for field in baseline.fields)]
    problems += loss_tree_problems(baseline.loss) if baseline.loss else ()
    for field in baseline.fields:
        problems += [f"field {field.name}: {problem}" for problem in _field_problems(field, baseline.slice_rows)]
        if bool(field.hours_of_week) > bool(baseline.timezone):
            problems.append(f"field {field.name}: it has hours of the week, but the baseline has no time zone")
    return problems


def _field_problems(field: FieldBaseline, slice_rows: dict[str, int]) -> Iterator[str]:
    numbers = (*field.edges, *field.quantiles, field.mean, field.std, field.low or 0.0, field.high or 0.0)
    if not all(map(math.isfinite, numbers)):
        yield "an edge, quantile, limit or moment is not finite"
    if any(map(operator.ge, field.edges, field.edges[1:])):
        yield "edges must ascend, each larger than the one before"
    if any(map(operator.gt, field.quantiles, field.quantiles[1:])):
        yield "quantiles must ascend"
    if len(field.quantiles) not in (0, QUANTILE_RANKS):
        yield f"{len(field.quantiles)} quantiles; there must be {QUANTILE_RANKS} or none"
    if field.kind == "category" and (field.edges or field.quantiles):
        yield "a category field has neither edges nor quantiles"
    if field.kind == "numeric" and field.categories:
        yield "a numeric field has no categories"
    for category in _repeated(field.categories):
        yield f"category {category!r} is repeated"
    if field.low is not None and field.high is not None and field.low > field.high:
        yield f"low {field.low} is above high {field.high}"
    if not 0 <= field.quantile_error <= 1:
        yield f"quantile_error is {field.quantile_error}; it is a share of the ranks"
    if field.std < 0:
        yield f"std is {field.std}"
    if ALL not in field.slices:
        yield f"the slice `{ALL}` is missing"
    for name, counts in field.slices.items():
        if name not in slice_rows:
            yield f"slice {name} has no rows in slice_rows"
            continue
        for problem in _count_problems(field, counts, slice_rows[name]):
            yield f"slice {name}: {problem}"
    if field.hours_of_week and ALL in field.slices and len(field.slices[ALL].cells) == field.n_cells:
        yield from _hour_problems(field)


def _hour_problems(field: FieldBaseline) -> Iterator[str]:
    whole = field.fold(field.slices[ALL].cells)
    for name, bins in field.hours_of_week.items():
        if name not in _HOUR_NAMES:
            yield f"{name!r} is not an hour of the week; they are {HOUR_NAMES[0]!r} to {HOUR_NAMES[-1]!r}"
        if len(bins) != len(whole):
            yield f"hour {name}: {len(bins)} bins instead of {len(whole)}"
        elif min(bins) < 0 or not any(bins):
            yield f"hour {name}: a count is negative, or there are no rows"
    if all(len(bins) == len(whole) for bins in field.hours_of_week.values()):
        summed = [sum(bins) for bins in zip(*field.hours_of_week.values(), strict=True)]
        if any(hourly > total for hourly, total in zip(summed, whole, strict=True)):
            yield "its hours of the week have more rows than the slice `all`"


_HOUR_NAMES = frozenset(HOUR_NAMES)


def _count_problems(field: FieldBaseline, counts: SliceCounts, rows: int) -> Iterator[str]:
    if len(counts.cells) != field.n_cells:
        yield f"{len(counts.cells)} cells; its edges or categories need {field.n_cells}"
        return
    counted = ((column.key, counts.count(column)) for column in TAIL_COLUMNS if column is not FieldColumn.INVALID)
    of_valid = {name: rows_of for name, rows_of in (*counted, ("singletons", counts.singletons)) if rows_of is not None}
    if min(*counts.cells, counts.invalid, *of_valid.values()) < 0:
        yield "a count is negative"
    # Failed predictions, which training has none of, are in no cell of what only an answer has.
    if sum(counts.cells) + counts.invalid > rows:
        yield f"cells and invalid add up to {sum(counts.cells) + counts.invalid}, the slice has {rows} rows"
    valid = sum(counts.cells[: FieldColumn.NULL])
    for name, rows_of in of_valid.items():
        if rows_of > valid:
            yield f"{name} is {rows_of}, only {valid} rows have a valid value"
    if not 0 <= counts.noise <= 1:
        yield f"noise is {counts.noise}; 1/n_eff is from 0 to 1"
    for window, phi in counts.phi.items():
        if not (math.isfinite(phi.value) and phi.value >= 1 and phi.windows >= 0):
            yield f"φ of window {window} is {phi.value} from {phi.windows} windows; φ is at least 1"
        if not (phi.nu == 0 or 1 <= phi.nu < 1_000_000):
            yield f"ν of window {window} is {phi.nu}; it is at least 1, or 0 for that of the bins"
    for window, rates in counts.rates.items():
        for kind, rate in rates.items():
            if not (math.isfinite(rate.phi) and rate.phi >= 1 and 0 <= rate.delta <= 1):
                yield f"the rate of {kind} of window {window} has φ {rate.phi} and delta {rate.delta}"


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]
