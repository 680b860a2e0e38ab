"""What a model is measured by, as the SQL of the scorer needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from barograph.contract import SECONDS_PER_HOUR

Kind = Literal["binary", "classes", "number"]


@dataclass(frozen=True, slots=True)
class ScoreDimension:
    """A slice dimension for one or more versions; versions without a baseline of their own go by the key ``""``."""

    name: str
    sources: tuple[str, ...]
    """`features.NAME`, `context.NAME` or `arm`; several are crossed."""
    kept: tuple[tuple[str, ...], ...]
    """(version key, value of each source) that has a slice of its own; everything else is `NAME=other`."""
    versions: tuple[str, ...]
    """Keys of the versions that have the dimension."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What one model is measured by."""

    model: str
    kind: Kind
    basis: str
    """Hash of all that follows: only state of one basis adds up."""
    window_s: int
    """Length of a score window: whole hours."""
    horizon_ms: int
    raw_share: float
    label_type: str
    """What `labels.label_type` must be."""
    positive: str = ""
    """Two classes: the class of an event that the score is the probability of."""
    positive_label: str = ""
    """Two classes: the label that says so. A flag says true of a class that has a name of its own."""
    threshold: float = 0.5
    answers: tuple[str, ...] = ()
    """Two classes: all that an event may name, where these are known; of a category the other one is not."""
    classes: tuple[str, ...] = ()
    """More classes, in the contract's order."""
    edges: tuple[float, ...] = ()
    """Ascending edges between the bins of scores."""
    age_edges_s: tuple[float, ...] = ()
    """Ascending ages that bound the age bins, from 0."""
    registered: tuple[str, ...] = field(default=(), compare=False)
    """Versions with a baseline of their own."""

    def parameters(self) -> dict[str, Any]:
        """What statements about the model bind."""
        return {"model": self.model}

    @property
    def shared(self) -> str:
        """A condition on `id` that holds for the ids that are recorded: labels of others wait for no prediction."""
        return "1" if self.raw_share >= 1 else f"CRC32(id) < {self.raw_share * 2**32!r}"

    def windows_of(self, hours: set[int]) -> set[int]:
        """The score windows (starts, Unix seconds) that hold these hours."""
        return {hour - hour % self.window_s for hour in hours}

    def hours_of(self, windows: list[int]) -> list[int]:
        """The hours (starts, Unix seconds) of score windows."""
        return [hour for start in windows for hour in range(start, start + self.window_s, SECONDS_PER_HOUR)]
