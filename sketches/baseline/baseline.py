"""The frozen summary of the training data that windows are judged against.

Its id is the hash of its content, so a baseline never changes: another content is another baseline.
"""

from __future__ import annotations

import math
import operator
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, ClassVar, Literal, cast

import msgspec
from barograph.contract import CROSS, content_hash

from sketches.baseline.columns import TAIL_COLUMNS, TAIL_KEYS, FieldColumn

FORMAT = 1
ALL = "all"
"""The slice that is the whole."""
OTHER = "other"
"""The value of a slice dimension that gathers all values without a slice of their own."""

QUANTILE_RANKS = 1001
"""A numeric field keeps its exact quantiles at ranks 0, 0.001, … 1: a rank error of at most 0.0005 + 1/m."""

RARE_DIVISOR = 200
"""A category belongs to the bin `other` when its baseline count times this is under m: its share is under 0.5 %."""

HOURS_OF_WEEK = 168
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SLOT_NAMES = tuple(f"{day + 1} {_DAYS[day]} {hour:02d}" for day in range(7) for hour in range(24))
"""What a baseline calls its hours of the week: `1 Mon 00` to `7 Sun 23`."""

PhiFlag = Literal["ok", "rough", "shorter", "unknown"]


class Phi(msgspec.Struct, frozen=True):
    """Overdispersion of one field and slice at one window length."""

    value: float = 1.0
    windows: int = 0
    flag: PhiFlag = "unknown"


class SliceCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What training held of one field in one slice.

    `cells` has the layout of `FieldBaseline.n_cells`: numeric fields one count per bin, then `null`; category
    fields one count per category, then `unseen` (rows of categories that are not kept), then `null`.
    """

    cells: tuple[int, ...]
    invalid: int = 0
    below: int = 0
    above: int = 0
    singletons: int = 0
    """Rows of kept categories that would be unseen had training lacked the row itself: the categories seen once, and
    where not all are kept those that are so by one row. With the rows that are unseen in training they are what is
    expected to be unseen later (Good–Turing, by leaving one out)."""
    phi: dict[str, Phi] = {}
    """By window name."""

    @classmethod
    def from_columns(cls, columns: Sequence[int], singletons: int = 0) -> SliceCounts:
        """Make the counts of a field from its columns of the layout: cells, then the tail."""
        n_cells = len(columns) - len(TAIL_KEYS)
        tail: dict[str, Any] = dict(zip(TAIL_KEYS, columns[n_cells:], strict=True))
        return cls(cells=tuple(columns[:n_cells]), singletons=singletons, **tail)

    def count(self, column: FieldColumn) -> int:
        """Return one count of the field."""
        if column < 0:
            return self.cells[column]
        count: int = getattr(self, column.key)
        return count


assert set(TAIL_KEYS) <= set(SliceCounts.__struct_fields__), "a baseline holds every count of the layout"


class FieldBaseline(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline of one field: frozen bins and what training counted on them."""

    LATER: ClassVar = ("slots",)

    name: str
    kind: Literal["numeric", "category"]
    integer: bool = False
    """Whether values are whole numbers or large: sketched in doubles."""
    edges: tuple[float, ...] = ()
    """Numeric: ascending inner edges, bin i holds edges[i-1] <= x < edges[i]; the outer bins are open."""
    categories: tuple[str, ...] = ()
    low: float | None = None
    """Values under it count as `below` (in the outer bin too): the contract's, else training's minimum."""
    high: float | None = None
    mean: float = 0.0
    """Of valid training values; the shift of the moments kept per pane."""
    std: float = 0.0
    quantiles: tuple[float, ...] = ()
    """Numeric: `QUANTILE_RANKS` exact quantiles; empty where no value is valid."""
    slots: dict[str, tuple[int, ...]] = {}
    """Training rows per hour of the week (`SLOT_NAMES`) and PSI bin of the slice `all`, as `fold` lays them; slots
    without rows are left out. Rows without event time are in no slot. Other slices are judged by the whole week."""
    slices: dict[str, SliceCounts]
    """By slice name, `all` among them."""

    @property
    def n_cells(self) -> int:
        """Cells counted for PSI: bins or categories and `unseen`, then `null`."""
        return len(self.edges) + 2 if self.kind == "numeric" else len(self.categories) + 2

    def bin_of_cell(self) -> tuple[int, ...]:
        """The bin of the slice `all` that each cell is counted in for PSI; `null`, the last cell, is the last bin.

        Numeric fields have a bin per cell; category fields one per category of 0.5 % of training and more, then
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
        """Sum counts on cells of the slice `all` into the bins that PSI is taken over."""
        of_cell = self.bin_of_cell()
        bins = [0] * (of_cell[-1] + 1)
        for place, events in zip(of_cell, cells, strict=True):
            bins[place] += events
        return tuple(bins)


class SliceValues(msgspec.Struct, frozen=True, kw_only=True):
    """The frozen values of one slice dimension."""

    name: str
    source: str
    values: tuple[str, ...]
    """Values with a slice of their own; all others are `NAME=other`."""
    trained: bool
    """Whether training held the dimension; where not, its slices are judged against the slice `all`."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that are crossed; one where none are."""
        return tuple(self.source.split(CROSS))


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline of one model version."""

    LATER: ClassVar = ("timezone",)

    format: int = FORMAT
    model: str
    version: str
    rows: int
    slice_rows: dict[str, int]
    """Training rows per slice name, `all` among them."""
    dimensions: tuple[SliceValues, ...] = ()
    timezone: str = ""
    """The zone whose hours of the week the fields' `slots` are; empty where there are none."""
    fields: tuple[FieldBaseline, ...]
    source: str = ""
    """Where it came from: a file's name, or production panes with their range and reason."""

    @property
    def id(self) -> str:
        """The hash of the content: 16 hexadecimal digits."""
        return content_hash(self)


def for_counting(baseline: Baseline) -> Baseline:
    """A baseline without what only judging reads: what training counted, its quantiles, its hours of the week.

    Bins, limits and slices are all there. Its `id` is no longer that of the whole one.
    """
    fields = tuple(msgspec.structs.replace(field, quantiles=(), slots={}, slices={}) for field in baseline.fields)
    return msgspec.structs.replace(baseline, fields=fields)


def for_judging(baseline: Baseline) -> Baseline:
    """A baseline whose quantiles take 8 bytes each instead of Python's 32: of 2,000 fields they are two million.

    They are read as before, but not encoded, so it is not to be written and has no `id`.
    """
    fields = tuple(
        msgspec.structs.replace(field, quantiles=cast(tuple[float, ...], array("d", field.quantiles)))
        for field in baseline.fields
    )
    return msgspec.structs.replace(baseline, fields=fields)


class BaselineError(ValueError):
    """A baseline is not what its file should hold, or does not agree with itself."""


class _Header(msgspec.Struct):
    """What is read before anything else, because another format may hold anything else."""

    format: int


class _AnyFormat(msgspec.Struct):
    baseline: _Header


class _BaselineFile(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    baseline: Baseline


def dump_baseline(baseline: Baseline) -> bytes:
    """Write a baseline as JSON that people can read and compare.

    One member stands on a line, and so does each row of numbers.

    Raises:
        BaselineError: the baseline does not agree with itself, or holds values that JSON would change (NaN, a
            whole number where a float belongs), so that it could not be read again with the same id.
    """
    _refuse(baseline_problems(baseline), f"the baseline of {baseline.model} {baseline.version}")
    data = msgspec.json.encode(_BaselineFile(baseline.id, baseline), order="deterministic")
    try:
        same = msgspec.json.decode(data, type=_BaselineFile).baseline.id == baseline.id
    except msgspec.ValidationError as error:
        raise BaselineError(f"the baseline of {baseline.model} {baseline.version} cannot be written: {error}") from None
    if not same:
        raise BaselineError(
            f"the baseline of {baseline.model} {baseline.version} changes its id when written and read: a "
            "whole number stands where a float belongs; make it one"
        )
    return _ABSENT.sub(b"", _NUMBER_ROW.sub(_on_one_line, msgspec.json.format(data, indent=2))) + b"\n"


def load_baseline(data: bytes, name: str) -> Baseline:
    """Read what `dump_baseline` wrote.

    Args:
        data: the bytes.
        name: where they came from, for messages.

    Raises:
        BaselineError: the bytes are no baseline, of another format, changed since they were written, or do
            not agree with themselves.
    """
    try:
        found = msgspec.json.decode(data, type=_AnyFormat).baseline.format
        if found != FORMAT:
            raise BaselineError(
                f"{name}: the baseline is of format {found}, this Barograph reads format {FORMAT}; run "
                "`barograph infer` again, or upgrade"
            )
        file = msgspec.json.decode(data, type=_BaselineFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BaselineError(f"{name}: this is no baseline file: {error}") from None
    _refuse(baseline_problems(file.baseline), name)
    if file.id != file.baseline.id:
        raise BaselineError(
            f"{name}: the file says id {file.id}, its content has {file.baseline.id}: it was changed by "
            "hand. Baselines are frozen: make a new one with `barograph infer`"
        )
    return file.baseline


_NUMBER_ROW = re.compile(rb"\[\n[\s\d.,eE+-]*\]")
"""An array of numbers over several lines. It matches nothing within a string: JSON escapes line ends
there."""


_ABSENT = re.compile(rb'\n *"(?:slots": {}|timezone": ""),')
"""Members of `LATER` at their defaults: a file without hours of the week is what it was before there were any."""


def _on_one_line(match: re.Match[bytes]) -> bytes:
    return b"[" + b", ".join(match.group()[1:-1].replace(b",", b" ").split()) + b"]"


def _refuse(problems: list[str], name: str) -> None:
    if problems:
        shown = "; ".join(problems[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise BaselineError(f"{name}: the baseline does not agree with itself: {shown}{more}")


def baseline_problems(baseline: Baseline) -> list[str]:
    """Name everything in which a baseline does not agree with itself; empty where it does."""
    problems = [f"{member} is empty" for member in ("model", "version") if not getattr(baseline, member)]
    if baseline.slice_rows.get(ALL) != baseline.rows:
        problems.append(f"slice_rows must hold `{ALL}` with all {baseline.rows} rows")
    problems += [f"slice {name} has {rows} rows" for name, rows in baseline.slice_rows.items() if rows < 0]
    problems += [f"dimension {name} comes twice" for name in _repeated(d.name for d in baseline.dimensions)]
    known = {ALL}
    for dimension in baseline.dimensions:
        # A value called `other` would share the name of the slice that gathers the rest.
        values = (*dimension.values, OTHER)
        problems += [f"dimension {dimension.name}: value {value!r} comes twice" for value in _repeated(values)]
        known.update(f"{dimension.name}={value}" for value in values)
    problems += [f"slice {name} belongs to no dimension" for name in baseline.slice_rows if name not in known]
    problems += [f"field {name} comes twice" for name in _repeated(field.name for field in baseline.fields)]
    for field in baseline.fields:
        problems += [f"field {field.name}: {problem}" for problem in _field_problems(field, baseline.slice_rows)]
        if bool(field.slots) > bool(baseline.timezone):
            problems.append(f"field {field.name}: it has hours of the week, and the baseline no time zone")
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
        yield f"{len(field.quantiles)} quantiles, there must be {QUANTILE_RANKS} or none"
    if field.kind == "category" and (field.edges or field.quantiles):
        yield "a category field has neither edges nor quantiles"
    if field.kind == "numeric" and field.categories:
        yield "a numeric field has no categories"
    for category in _repeated(field.categories):
        yield f"category {category!r} comes twice"
    if field.low is not None and field.high is not None and field.low > field.high:
        yield f"low {field.low} is above high {field.high}"
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
    if field.slots and ALL in field.slices and len(field.slices[ALL].cells) == field.n_cells:
        yield from _slot_problems(field)


def _slot_problems(field: FieldBaseline) -> Iterator[str]:
    whole = field.fold(field.slices[ALL].cells)
    for name, bins in field.slots.items():
        if name not in _SLOTS:
            yield f"{name!r} is no hour of the week; they are {SLOT_NAMES[0]!r} to {SLOT_NAMES[-1]!r}"
        if len(bins) != len(whole):
            yield f"hour {name}: {len(bins)} bins, there are {len(whole)}"
        elif min(bins) < 0 or not any(bins):
            yield f"hour {name}: a count is negative, or there are no rows"
    if all(len(bins) == len(whole) for bins in field.slots.values()):
        summed = [sum(bins) for bins in zip(*field.slots.values(), strict=True)]
        if any(part > all_ for part, all_ in zip(summed, whole, strict=True)):
            yield "its hours of the week hold more rows than the slice `all`"


_SLOTS = frozenset(SLOT_NAMES)


def _count_problems(field: FieldBaseline, counts: SliceCounts, rows: int) -> Iterator[str]:
    if len(counts.cells) != field.n_cells:
        yield f"{len(counts.cells)} cells, its edges or categories make {field.n_cells}"
        return
    of_valid = {column.key: counts.count(column) for column in TAIL_COLUMNS if column is not FieldColumn.INVALID}
    of_valid["singletons"] = counts.singletons
    if min(*counts.cells, counts.invalid, *of_valid.values()) < 0:
        yield "a count is negative"
    if sum(counts.cells) + counts.invalid != rows:
        yield f"cells and invalid add up to {sum(counts.cells) + counts.invalid}, the slice has {rows} rows"
    valid = sum(counts.cells[: FieldColumn.NULL])
    for name, rows_of in of_valid.items():
        if rows_of > valid:
            yield f"{name} is {rows_of}, only {valid} rows hold a valid value"
    for window, phi in counts.phi.items():
        if not (math.isfinite(phi.value) and phi.value >= 1 and phi.windows >= 0):
            yield f"φ of window {window} is {phi.value} from {phi.windows} windows; φ is at least 1"


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]
