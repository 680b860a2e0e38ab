"""Progress of each pipeline stage, from processor reports and tables."""

from __future__ import annotations

from dataclasses import dataclass

from barograph_server.examples.demo.flights import MODEL, WEEK
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
    recorded, judged, sketched, scored, paired = client.rows(
        "SELECT (SELECT count() FROM predictions) + (SELECT count() FROM labels) "
        "+ (SELECT count() FROM shadow_predictions), "
        # Only `progress` says up to when everything derived from sealed panes is written.
        "(SELECT sum(n) FROM volume FINAL WHERE model = {model:String} AND slice = 'all' "
        "AND pane_start < (SELECT max(sealed_until) FROM progress FINAL WHERE model = {model:String})), "
        # Each process counts from its start.
        "(SELECT sum(most) FROM (SELECT max(events) AS most FROM processors WHERE kind = 'sketcher' "
        "GROUP BY instance, started_at)), "
        # The scorer measures its longest windows last.
        "(SELECT sum(n) FROM latest_performance WHERE model = {model:String} AND slice = 'all' AND metric = 'auc' "
        "AND window = {window:String}), "
        "(SELECT sum(requests + labelled + missing_labelled) FROM shadow_pairs FINAL WHERE model = {model:String} "
        "AND slice = 'all')",
        {"model": MODEL, "window": WEEK.name},
    )[0]

    def count(kind: str, done: int) -> StageCount:
        row = reports.get(kind)
        return StageCount(done) if row is None else StageCount(done, row.rate, max(0, row.lag))

    return {
        "published": StageCount(published),
        # Judged events were sketched, even if the sketcher stopped before its last report.
        "sketched": count("sketcher", max(int(sketched), int(judged))),
        "recorded": count("recorder", int(recorded)),
        "judged": count("monitor", int(judged)),
        # Its reported rate counts all rows read, including predictions, so it is not shown.
        "scored": StageCount(int(scored)),
        PAIRED: StageCount(int(paired)),
    }
