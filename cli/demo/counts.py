"""How far each stage of the pipeline is, as the processors and the tables say."""

from __future__ import annotations

from dataclasses import dataclass

from cli.demo.flights import MODEL, WEEK
from warehouse.client import Client
from warehouse.status import processors

STAGES = ("published", "sketched", "recorded", "judged", "scored")


@dataclass(frozen=True, slots=True)
class StageCount:
    """One stage."""

    done: int
    """Events that are through it; of the scorer labels alone."""
    rate: float | None = None
    """Events per second, as its processor reports; None where nobody does."""
    lag: int | None = None
    """Messages between what its processor has committed and the end of its topics."""


def stage_counts(client: Client, published: int) -> dict[str, StageCount]:
    """Ask how far the stages are.

    Args:
        client: of the demo's database.
        published: events that Kafka has acknowledged, as the publisher counts them.
    """
    reports = {row.kind: row for row in processors(client)}
    recorded, judged, sketched, scored = client.rows(
        "SELECT (SELECT count() FROM predictions) + (SELECT count() FROM labels), "
        # Until when everything that follows from sealed panes is written is known from `progress` alone.
        "(SELECT sum(n) FROM volume FINAL WHERE model = {model:String} AND slice = 'all' "
        "AND pane_start < (SELECT max(sealed_until) FROM progress FINAL WHERE model = {model:String})), "
        # Each process counts from its own start.
        "(SELECT sum(most) FROM (SELECT max(events) AS most FROM processors WHERE kind = 'sketcher' "
        "GROUP BY instance, started_at)), "
        # The scorer measures its longest windows last.
        "(SELECT sum(n) FROM latest_performance WHERE model = {model:String} AND slice = 'all' AND metric = 'auc' "
        "AND window = {window:String})",
        {"model": MODEL, "window": WEEK.name},
    )[0]

    def count(kind: str, done: int) -> StageCount:
        row = reports.get(kind)
        return StageCount(done) if row is None else StageCount(done, row.rate, max(0, row.lag))

    return {
        "published": StageCount(published),
        # What is judged was sketched, also where the sketcher ended before it could say so.
        "sketched": count("sketcher", max(int(sketched), int(judged))),
        "recorded": count("recorder", int(recorded)),
        "judged": count("monitor", int(judged)),
        # Its rate is of rows that it read, predictions too.
        "scored": StageCount(int(scored)),
    }
