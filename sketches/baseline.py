"""The frozen summary of the training data that windows are judged against; its id is the hash of its content."""

from __future__ import annotations

from typing import Literal

import msgspec

from barograph.contract import content_hash

FORMAT = 1
ALL = "all"
"""The slice that is the whole."""
OTHER = "other"
"""The value of a slice dimension that gathers all values without a slice of their own."""

QUANTILE_RANKS = 1001
"""A numeric field keeps its exact quantiles at ranks 0, 0.001, … 1: a rank error of at most 0.0005 + 1/m."""

PhiFlag = Literal["ok", "rough", "shorter", "unknown"]


class Phi(msgspec.Struct, frozen=True):
    """Overdispersion of one field and slice at one window length."""

    value: float = 1.0
    windows: int = 0
    flag: PhiFlag = "unknown"


class SliceCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What training held of one field in one slice.

    `cells` has the layout of `FieldBaseline.n_cells`: numeric fields one count per bin, then `null`; category fields
    one count per category, then `unseen` (rows of categories that are not kept), then `null`.
    """

    cells: tuple[int, ...]
    invalid: int = 0
    below: int = 0
    above: int = 0
    singletons: int = 0
    """Categories seen once: the Good–Turing estimate of unseen values is singletons / rows."""
    phi: dict[str, Phi] = {}
    """By window name."""


class FieldBaseline(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline of one field: frozen bins and what training counted on them."""

    name: str
    kind: Literal["numeric", "category"]
    integer: bool = False
    """Whether values are whole numbers or large: sketched in doubles."""
    edges: tuple[float, ...] = ()
    """Numeric: ascending inner edges, bin i holds edges[i-1] <= x < edges[i]; the outer bins are open."""
    categories: tuple[str, ...] = ()
    low: float | None = None
    """Values under it count as `below` (in the outer bin too): the contract's limit, else training's minimum."""
    high: float | None = None
    mean: float = 0.0
    """Of valid training values; the shift of the moments kept per pane."""
    std: float = 0.0
    quantiles: tuple[float, ...] = ()
    """Numeric: `QUANTILE_RANKS` exact quantiles; empty where no value is valid."""
    slices: dict[str, SliceCounts]
    """By slice name, `all` among them."""

    @property
    def n_cells(self) -> int:
        """Cells counted for PSI: bins or categories and `unseen`, then `null`."""
        return len(self.edges) + 2 if self.kind == "numeric" else len(self.categories) + 2


class SliceValues(msgspec.Struct, frozen=True, kw_only=True):
    """The frozen values of one slice dimension."""

    name: str
    source: str
    values: tuple[str, ...]
    """Values with a slice of their own; all others are `NAME=other`."""
    trained: bool
    """Whether training held the dimension; where not, its slices are judged against the slice `all`."""


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline of one model version."""

    format: int = FORMAT
    model: str
    version: str
    rows: int
    slice_rows: dict[str, int]
    """Training rows per slice name, `all` among them."""
    dimensions: tuple[SliceValues, ...] = ()
    fields: tuple[FieldBaseline, ...]
    source: str = ""
    """Where it came from: a file's name, or production panes with their range and reason."""

    @property
    def id(self) -> str:
        """The hash of the content: 16 hexadecimal digits."""
        return content_hash(self)
