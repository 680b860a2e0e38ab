"""The scorer's progress through the raw rows of `predictions` and `labels`.

A checkpoint holds, per partition, the offset up to which all rows are processed. Rows of a partition do not become
visible in the exact order of their offsets: one insert may create several parts, and a replica fetches parts in any
order. So each pass reads all rows after the checkpoint again, and the checkpoint advances only to offsets that were
already visible a grace period earlier.

A pass has two phases: `prepare` determines what the pass covers, `advance` follows once all of it is processed. A pass
that breaks off in between changes nothing, and the next one covers the same rows again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from barograph_server.warehouse.scoring.new_rows import TOPICS, EpochPartition, Offsets, PartitionEnd, Topic

TopicOffsets = Mapping[Topic, Offsets]
"""Per topic and partition, the last processed offset. A partition without an entry has not been processed at all."""

NOTHING: TopicOffsets = {topic: {} for topic in TOPICS}
"""The offsets before any row."""


@dataclass(frozen=True, slots=True)
class ReadRange:
    """The rows that a model's pass reads: all after `start`. The next pass reads those after `next_start` again."""

    start: TopicOffsets
    next_start: TopicOffsets


@dataclass(frozen=True, slots=True)
class PassPlan:
    """What one pass covers."""

    start: TopicOffsets
    """The checkpoint at the start of the pass."""
    next_start: TopicOffsets
    ends: Mapping[Topic, Mapping[EpochPartition, PartitionEnd]]
    """The rows after the checkpoint, per partition."""
    visible: TopicOffsets
    now_s: float
    advances: bool
    """Whether the pass advances the checkpoint."""
    has_changes: bool
    """Whether the rows after the checkpoint differ from those of the last pass, or will after the advance."""
    is_exhausted: bool
    """Whether no offset is newer than those of the last pass."""

    def read_range(self, *, from_start: bool) -> ReadRange:
        """Return the range that a model's pass reads.

        Args:
            from_start: whether the model reads all its rows, since it has no state. Other models are not affected.
        """
        return ReadRange(NOTHING if from_start else self.start, self.next_start)

    def changed_topics(self) -> dict[Topic, Offsets]:
        """Return the offsets of the topics whose checkpoint advances."""
        return {topic: self.next_start[topic] for topic in TOPICS if self.next_start[topic] != self.start[topic]}


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Offsets that become the checkpoint once they have been visible for the grace period."""

    offsets: TopicOffsets
    visible_since_s: float


class Checkpoint:
    """Offsets up to which all rows are processed, and the candidate for the next advance.

    Args:
        grace_s: how long offsets must be visible before the checkpoint advances to them; 0 if every insert is visible
            at once.
    """

    def __init__(self, offsets: TopicOffsets, grace_s: float) -> None:
        self.offsets = {topic: dict(offsets[topic]) for topic in TOPICS}
        self._grace_s = grace_s
        self._candidate: _Candidate | None = None
        self._last_ends: Mapping[Topic, Mapping[EpochPartition, PartitionEnd]] | None = None
        self._last_visible: TopicOffsets = {}

    def prepare(self, ends: Mapping[Topic, Mapping[EpochPartition, PartitionEnd]], now_s: float) -> PassPlan:
        """Plan a pass.

        Args:
            ends: the rows after the checkpoint per topic and partition, queried before the pass reads any row. So the
                pass sees all rows up to these offsets.
        """
        visible = {
            topic: {**self.offsets[topic], **{p: end.offset for p, end in ends[topic].items()}} for topic in TOPICS
        }
        candidate = self._candidate
        if candidate is None or self._grace_s == 0:
            candidate = _Candidate(visible, now_s)
        advances = now_s - candidate.visible_since_s >= self._grace_s
        return PassPlan(
            start=self.offsets,
            next_start=candidate.offsets if advances else self.offsets,
            ends=ends,
            visible=visible,
            now_s=now_s,
            advances=advances,
            has_changes=ends != self._last_ends or (advances and candidate.offsets != visible),
            is_exhausted=visible == self._last_visible,
        )

    def advance(self, plan: PassPlan) -> None:
        """Record that all rows of a pass are processed.

        Call it when everything that the pass wrote is stored, the changed topics' offsets last.
        """
        if plan.advances:
            self.offsets = {topic: dict(plan.next_start[topic]) for topic in TOPICS}
            self._candidate, self._last_ends = _Candidate(plan.visible, plan.now_s), None
        else:
            self._candidate = self._candidate or _Candidate(plan.visible, plan.now_s)
            self._last_ends = plan.ends
        self._last_visible = plan.visible
