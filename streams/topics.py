"""Names of the Kafka topics, and the partition of `partials` that holds a model.

An installation has one source topic, `predictions`, under one prefix. Partials, tallies and progress records name
source partitions by number, and the offset ledger keeps one chain of offsets for each number: a second source topic
whose records went to the same `partials` would appear as a recreated topic, again and again. The monitor stops when
that happens. A second source topic needs an installation with a prefix of its own.
"""

import zlib
from dataclasses import dataclass

from barograph.guard.health import HEALTH_TOPIC
from barograph.prompts.records import PROMPTS_TOPIC


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one installation, under one prefix: empty in production, one per test in tests."""

    prefix: str = ""

    @property
    def predictions(self) -> str:
        """The source topic, of which an installation has exactly one."""
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
        """Resolutions of dead letters, compacted: one record for each that was replayed or dropped."""
        return f"{self.prefix}dead-letters"

    @property
    def model_health(self) -> str:
        """The state of each model, compacted: written by the guard, read by serving systems."""
        return f"{self.prefix}{HEALTH_TOPIC}"

    @property
    def prompts(self) -> str:
        """Versions of prompts and their labels, compacted: written by `barograph prompts`, read by serving systems."""
        return f"{self.prefix}{PROMPTS_TOPIC}"

    @property
    def waiting_answers(self) -> str:
        """Answers whose judge does not answer, until the evaluator calls it again."""
        return f"{self.prefix}waiting-answers"

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
            self.model_health,
            self.prompts,
            self.waiting_answers,
        )


def partials_partition(model: str, n_partitions: int) -> int:
    """Return the partition of `partials` that holds all records of a model.

    It is computed here and never by a client library's partitioner, so that all writers and readers agree permanently.
    """
    return zlib.crc32(model.encode()) % n_partitions
