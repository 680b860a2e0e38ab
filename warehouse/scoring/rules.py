"""The scoring rules of a model, as parameters of the scorer's SQL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from barograph.contract import SECONDS_PER_HOUR, content_hash

from barograph_server.sketches.baseline.loss_trees import LossTrees

Kind = Literal["binary", "classes", "number", "unlabelled"]
"""`unlabelled` is a model whose contract has no usable label: its predictions are counted, not measured."""


@dataclass(frozen=True, slots=True)
class ScoreDimension:
    """A slice dimension of one or more versions; versions without their own baseline have the key ``""``."""

    name: str
    sources: tuple[str, ...]
    """`features.NAME`, `context.NAME` or `arm`; several are crossed."""
    own_slices: tuple[tuple[str, ...], ...]
    """(version key, value of each source) of the values with their own slice; all others are `NAME=other`."""
    versions: tuple[str, ...]
    """Keys of the versions with the dimension."""


class ShadowVersions(NamedTuple):
    """A candidate and the version that answers the same requests."""

    candidate: str
    of: str


class PairSettings(NamedTuple):
    """What the contract adds to the counts of pairs."""

    copy: str = ""
    """The version of a second copy of the primary; empty: no copy."""
    prices: tuple[tuple[str, bool, bool], ...] = ()
    """Metrics with a price, each with whether it has one for the primary, and for the candidate."""
    slow_ms: float = 0.0
    """The latency target in milliseconds; 0: none."""

    @property
    def hash(self) -> str:
        """The hash of the settings: rows of another one do not add up in the columns that depend on them."""
        return content_hash(tuple(self))


class ArmTest(NamedTuple):
    """An A/B test whose arms are compared."""

    arms: tuple[str, ...]
    unit: str
    """`context.NAME`; empty if each prediction is assigned by itself."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How the performance of a model is measured."""

    model: str
    kind: Kind
    basis: str
    """Hash of the rules below: only state of one basis adds up."""
    window_s: int
    """Length of a score window, in whole hours."""
    horizon_ms: int
    raw_share: float
    forms: tuple[tuple[str, str], ...] = ()
    """Forms of labels and classes with their values, from `label_forms`; empty for numbers."""
    has_open_labels: bool = False
    """Whether a label without a form is a value of its own; otherwise it has the wrong type."""
    has_open_classes: bool = False
    """Two classes: whether a class without a form is a negative one; otherwise it is undeclared."""
    positive: str = ""
    """Two classes: the value of the class whose probability is the score."""
    threshold: float = 0.5
    classes: tuple[str, ...] = ()
    """More than two classes: the classes in the contract's order."""
    edges: tuple[float, ...] = ()
    """Ascending edges between the score bins."""
    age_edges_s: tuple[float, ...] = ()
    """Ascending lower bounds of the age bins, from 0."""
    registered: tuple[str, ...] = field(default=(), compare=False)
    """Versions with their own baseline."""
    losses: tuple[tuple[str, LossTrees], ...] = field(default=(), compare=False)
    """The newest versions with the trees by which their predictions are counted."""
    shadow: ShadowVersions | None = field(default=None, compare=False)
    """The candidate to pair with the primary; None: no candidate."""
    arms: ArmTest | None = field(default=None, compare=False)
    """The test whose arms are counted; None: no arm is judged."""
    pair_settings: PairSettings = field(default=PairSettings(), compare=False)
    """What is counted of the pairs."""

    @property
    def of_shadows(self) -> tuple[Rules, ...]:
        """The rules of the candidate, and those of the copy as a candidate with the prices of the primary."""
        if self.shadow is None:
            return ()
        settings = self.pair_settings
        if not settings.copy:
            return (self,)
        prices = tuple((name, of_primary, of_primary) for name, of_primary, _ in settings.prices)
        of_copy = self.shadow._replace(candidate=settings.copy)
        return self, replace(self, shadow=of_copy, pair_settings=settings._replace(copy="", prices=prices))

    def values_of(self, texts: Iterable[str], *, is_open: bool) -> list[str]:
        """Return the value of each label or class, as `label_join.value_of` does in SQL; empty for a text without one.

        Args:
            is_open: Whether a text without a form is a value of its own.
        """
        forms = dict(self.forms)
        return [forms.get(text) or forms.get(text.strip().lower()) or (text if is_open else "") for text in texts]

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of statements about the model."""
        return {"model": self.model}

    def window_start_sql(self, time: str) -> str:
        return f"toDateTime(intDiv(toUnixTimestamp({time}), {self.window_s}) * {self.window_s}, 'UTC')"

    @property
    def is_measured(self) -> bool:
        """Whether the model has labels, and so performance."""
        return self.kind != "unlabelled"

    @property
    def is_recorded(self) -> str:
        """An SQL condition for the ids that are recorded; labels of other ids have no prediction to wait for."""
        return "1" if self.raw_share >= 1 else f"CRC32(id) < {self.raw_share * 2**32!r}"

    def windows_of(self, hours: set[int]) -> set[int]:
        """Return the score windows (starts, Unix seconds) that contain these hours."""
        return {hour - hour % self.window_s for hour in hours}

    def hours_of(self, windows: list[int]) -> list[int]:
        """Return the hours (starts, Unix seconds) of score windows."""
        return [hour for start in windows for hour in range(start, start + self.window_s, SECONDS_PER_HOUR)]
