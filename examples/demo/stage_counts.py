"""Progress of each pipeline stage, from processor reports and tables."""

from __future__ import annotations

from dataclasses import dataclass

from barograph_server.examples.demo.queries import stage_sums
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.status import processors

STAGES = ("published", "sketched", "recorded", "judged", "scored")
PAIRED = "paired"
"""Stage of a demo with a candidate: requests and labels that the scorer has counted in `shadow_pairs`."""


@dataclass(frozen=True, slots=True)
class StageCount:
    """Progress of one stage."""

    done: int
    """Events that passed the stage; for the scorer, labels only. Predictions with the role `shadow` are sketched and
    judged nowhere."""
    rate: float | None = None
    """Events per second, as reported by its processor; None without a report."""
    lag: int | None = None
    """Consumer lag of its processor in messages."""


def stage_counts(client: Client, published: int) -> dict[str, StageCount]:
    """Read the progress of all stages.

    Args:
        client: connected to the demo's database.
        published: events acknowledged by Kafka, as counted by the publisher.
    """
    reports = {row.kind: row for row in processors(client)}
    sums = stage_sums(client)

    def count(kind: str, done: int) -> StageCount:
        row = reports.get(kind)
        return StageCount(done) if row is None else StageCount(done, row.rate, max(0, row.lag))

    return {
        "published": StageCount(published),
        # Judged events were sketched, even if the sketcher stopped before its last report.
        "sketched": count("sketcher", max(sums.sketched, sums.judged)),
        "recorded": count("recorder", sums.recorded),
        "judged": count("monitor", sums.judged),
        # Its reported rate counts all rows read, including predictions, so it is not shown.
        "scored": StageCount(sums.scored),
        PAIRED: StageCount(sums.paired),
    }
