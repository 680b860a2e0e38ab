"""Names of the Kafka topics, and which partition of `partials` belongs to which model."""

from __future__ import annotations

import zlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topics:
    """The project's topics under one prefix (empty in production, one per test in tests)."""

    prefix: str = ""

    @property
    def predictions(self) -> str:
        return f"{self.prefix}predictions"

    @property
    def labels(self) -> str:
        return f"{self.prefix}labels"

    @property
    def partials(self) -> str:
        return f"{self.prefix}partials"

    @property
    def predictions_dead(self) -> str:
        return f"{self.prefix}predictions.dead"

    @property
    def labels_dead(self) -> str:
        return f"{self.prefix}labels.dead"

    @property
    def partials_dead(self) -> str:
        return f"{self.prefix}partials.dead"

    @property
    def dead_letters(self) -> str:
        """What was done with dead letters, compacted: a mark for each that was replayed or dropped."""
        return f"{self.prefix}dead-letters"

    @property
    def all(self) -> tuple[str, ...]:
        return (
            self.predictions,
            self.labels,
            self.partials,
            self.predictions_dead,
            self.labels_dead,
            self.partials_dead,
            self.dead_letters,
        )


def partials_partition(model: str, n_partitions: int) -> int:
    """Find the partition of `partials` that holds all of a model.

    Computed by us, never by a client library's partitioner, so that every writer and reader agrees for good.
    """
    return zlib.crc32(model.encode()) % n_partitions
