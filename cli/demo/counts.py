"""How far each stage of the pipeline is, as the processors and the tables say."""

from __future__ import annotations

from dataclasses import dataclass

from cli.demo.flights import MODEL
from warehouse.client import Client
from warehouse.status import processors

STAGES = ("published", "sketched", "recorded", "judged")


@dataclass(frozen=True, slots=True)
class StageCount:
    """One stage."""

    done: int
    """Events that are through it."""
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
    recorded, judged, sketched = client.rows(
        "SELECT (SELECT count() FROM predictions) + (SELECT count() FROM labels), "
        "(SELECT sum(n) FROM volume FINAL WHERE model = {model:String} AND slice = 'all' AND sealed), "
        # Each process counts from its own start.
        "(SELECT sum(most) FROM (SELECT max(events) AS most FROM processors WHERE kind = 'sketcher' "
        "GROUP BY instance, started_at))",
        {"model": MODEL},
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
    }
