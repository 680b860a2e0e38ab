"""Counts of what became of a model's events: counted, dead-lettered, invalid, and labels by outcome.

`load` compares these counts before and after it publishes, and finds its own labels by their offsets in Kafka.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import NO_DRILLS, rows_of
from barograph_server.warehouse.signals.pipeline import uncounted_spans_sql

LABEL_PROBLEMS = {
    "wrong_type": "labels of the wrong type",
    "undeclared_label": "labels with an undeclared class",
    "late": "labels after the horizon",
    "unmatched": "labels without a prediction",
    "undeclared_class": "predictions with an undeclared class",
    "out_of_range": "predictions with a score outside [0, 1]",
    "invalid_sum": "predictions whose scores do not sum to 1",
}
"""Kinds of `label_counts` that performance does not measure, in words."""
DEAD_LETTER = "dead-letter"
SPANS = "spans"
"""Kind of spans of calls that became no prediction, of all models."""
VALUE_PROBLEMS = {"invalid": "invalid values", "unseen": "unknown classes"}
"""Kinds of `violations` for values that no bin or declared class holds, in words."""

Offsets = dict[int, tuple[int, int]]
"""Partition → the range [start, end) of its offsets."""


@dataclass(frozen=True, slots=True)
class EventCounts:
    """The number of events of one model by outcome, since the retention of each table."""

    predictions: int
    """Predictions in panes, failed ones included."""
    dead: dict[tuple[str, str], int]
    """Dead letters by source topic (without prefix) and reason."""
    values: dict[tuple[str, str], int]
    """Values by field and kind of `VALUE_PROBLEMS`."""
    labels: dict[str, int]
    """The kinds of the view `label_counts`."""


@dataclass(frozen=True, slots=True)
class LabelOutcomes:
    """The labels in a range of offsets, by the progress of recorder and scorer."""

    recorded: int
    joinable: int
    """Recorded labels whose prediction is in the recorded share, so that the scorer matches them."""
    matched: int
    unmatched: int
    """Labels whose prediction is not recorded. A label whose prediction is recorded waits for the scorer."""


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """Events of one model with the same problem."""

    model: str
    kind: str
    """`DEAD_LETTER`, `SPANS`, or a kind of `VALUE_PROBLEMS` or `LABEL_PROBLEMS`."""
    name: str
    """The topic and reason of dead letters, why spans do not count, or the field of values; otherwise empty."""
    n: int
    first_at: datetime
    """Start of the first hour or pane: by receipt for dead letters, otherwise by event time."""
    last_at: datetime
    """Start of the last hour or pane."""

    @property
    def text(self) -> str:
        """What the events are, in words."""
        words = {DEAD_LETTER: "dead letters", SPANS: "spans", **VALUE_PROBLEMS, **LABEL_PROBLEMS}[self.kind]
        return f"{words}, {self.name}" if self.name else words


@dataclass(frozen=True, slots=True)
class EventTotals:
    predictions: int
    labels: int


def event_counts(client: Client, model: str) -> EventCounts:
    """Count a model's events by outcome."""
    parameters = {"model": model}
    ((predictions,),) = client.rows(
        "SELECT sum(n) FROM volume FINAL WHERE model = {model:String} AND slice = 'all'", parameters
    )
    dead = client.rows(
        "SELECT topic, reason, sum(n) FROM dead_letters WHERE model = {model:String} GROUP BY topic, reason", parameters
    )
    values = client.rows(
        "SELECT field, kind, sum(n) FROM violations FINAL "
        "WHERE model = {model:String} AND kind IN {kinds:Array(String)} GROUP BY field, kind",
        {**parameters, "kinds": list(VALUE_PROBLEMS)},
    )
    labels = client.rows("SELECT kind, sum(n) FROM label_counts WHERE model = {model:String} GROUP BY kind", parameters)
    return EventCounts(
        int(predictions),
        {(topic, reason): int(n) for topic, reason, n in dead},
        {(field, kind): int(n) for field, kind, n in values},
        {kind: int(n) for kind, n in labels},
    )


def merged_offsets(client: Client, partials_partition: int) -> dict[int, int]:
    """Read how far the monitor has merged each source partition: partition → first offset that is not merged."""
    rows = client.rows(
        "SELECT source_partition, end_offset FROM offset_ledger FINAL WHERE partials_partition = {partition:UInt16}",
        {"partition": partials_partition},
    )
    return {int(partition): int(end) for partition, end in rows}


def recorded(
    client: Client, table: Literal["predictions", "shadow_predictions"], model: str, ranges: Offsets, since: datetime
) -> int:
    """Count a model's raw predictions in offset ranges, none of which was received before `since`."""
    ((n,),) = client.rows(
        f"SELECT uniqExact(partition, offset, message_index) FROM {table} WHERE {_in_ranges(ranges)}",
        {"model": model, "since": since},
    )
    return int(n)


def label_outcomes(
    client: Client, model: str, ranges: Offsets, since: datetime, *, raw_share: float = 1.0
) -> LabelOutcomes:
    """Count a model's labels in offset ranges by what the recorder and the scorer have done with them.

    Args:
        since: a lower bound of the received time.
        raw_share: the share of predictions that the contract records.
    """
    condition, parameters = _in_ranges(ranges), {"model": model, "since": since}
    key = "partition, offset, message_index"
    is_joinable = "1" if raw_share >= 1 else f"CRC32(id) < {raw_share * 2**32!r}"
    ((recorded, joinable),) = client.rows(
        f"SELECT uniqExact({key}), uniqExactIf(({key}), {is_joinable}) FROM labels WHERE {condition}", parameters
    )
    ((matched,),) = client.rows(f"SELECT uniqExact({key}) FROM hour_labels WHERE {condition}", parameters)
    ((unmatched,),) = client.rows(
        f"WITH waiting AS (SELECT id FROM pending_labels FINAL WHERE {condition} AND matched = 0) "
        "SELECT count() FROM waiting WHERE id NOT IN "
        "(SELECT id FROM predictions WHERE model = {model:String} AND id IN (SELECT id FROM waiting))",
        parameters,
    )
    return LabelOutcomes(int(recorded), int(joinable), int(matched), int(unmatched))


def is_performance_judged(client: Client, model: str) -> bool:
    """Return whether the scorer has judged the windows that it has counted.

    A pass counts windows, judges them, and then writes its status with the time of the counts.
    """
    ((is_judged,),) = client.rows(
        "SELECT (SELECT max(scored_at) FROM performance_state WHERE model = {model:String}) "
        "<= (SELECT max(updated_at) FROM scorer_models WHERE model = {model:String})",
        {"model": model},
    )
    return bool(is_judged)


def problems(client: Client) -> list[ProblemRow]:
    """Read the problems of the events of all models but those of drills, by model, kind and name."""
    return rows_of(
        client,
        ProblemRow,
        "FROM ("
        "SELECT model, {dead:String} AS kind, concat(topic, ' ', reason) AS name, sum(counted.n) AS n, "
        "min(hour) AS first_at, max(hour) AS last_at FROM dead_letters AS counted GROUP BY model, topic, reason "
        "UNION ALL SELECT model, kind, field AS name, sum(broken.n) AS n, min(pane_start) AS first_at, "
        "max(pane_start) AS last_at FROM violations AS broken FINAL WHERE kind IN {values:Array(String)} "
        "GROUP BY model, kind, field "
        "UNION ALL SELECT model, kind, '' AS name, sum(counts.n) AS n, min(hour) AS first_at, max(hour) AS last_at "
        "FROM label_counts AS counts WHERE kind IN {labels:Array(String)} AND counts.n > 0 GROUP BY model, kind"
        " UNION ALL SELECT '' AS model, {spans:String} AS kind, why AS name, toUInt64(spans.n) AS n, first_at, last_at "
        f"FROM ({uncounted_spans_sql('now() - INTERVAL 30 DAY', 'now()')}) AS spans"
        f") WHERE {NO_DRILLS} ORDER BY model, kind, name",
        {"dead": DEAD_LETTER, "spans": SPANS, "values": list(VALUE_PROBLEMS), "labels": list(LABEL_PROBLEMS)},
    )


def problem_query(kind: str, model: str, name: str) -> str:
    """Return the query of a person that wants to see the events of a problem.

    Args:
        kind: `unseen`, `wrong_type`, `undeclared_label`, `unmatched` or `late`.
        name: the field of unseen values.
    """
    of_model = "WHERE model = '{}'".format(model.replace("'", "''"))
    match kind:
        case "unseen":
            field = name.replace("'", "''")
            return (
                f"SELECT category, sum(n_low) AS n FROM unseen_categories {of_model} AND field = '{field}' "
                "GROUP BY category ORDER BY n DESC LIMIT 20"
            )
        case "unmatched":
            return f"SELECT id, at FROM pending_labels FINAL {of_model} AND matched = 0 LIMIT 20"
        case "late":
            return f"SELECT hour, n FROM label_counts {of_model} AND kind = 'late' ORDER BY hour"
        case _:
            return (
                f"SELECT label_type, label, count() AS n FROM labels {of_model} GROUP BY ALL ORDER BY n DESC LIMIT 20"
            )


def totals(client: Client) -> dict[str, EventTotals]:
    """Count the predictions in panes and the labels of each model that has any."""
    predictions = dict(client.rows("SELECT model, sum(n) FROM volume FINAL WHERE slice = 'all' GROUP BY model"))
    kinds = ["labelled", "corrections", "late", "wrong_type", "undeclared_label", "unmatched"]
    labels = dict(
        client.rows(
            "SELECT model, sum(n) FROM label_counts WHERE kind IN {kinds:Array(String)} GROUP BY model",
            {"kinds": kinds},
        )
    )
    return {
        model: EventTotals(int(predictions.get(model, 0)), int(labels.get(model, 0)))
        for model in predictions.keys() | labels.keys()
    }


def _in_ranges(ranges: Mapping[int, tuple[int, int]]) -> str:
    """Return the condition for a model's rows in offset ranges; without a range there are none."""
    parts = [
        f"(partition = {partition} AND offset >= {start} AND offset < {end})"
        for partition, (start, end) in sorted(ranges.items())
    ]
    return (
        "model = {model:String} AND received_at >= {since:DateTime64(3, 'UTC')} AND "
        f"({' OR '.join(parts) if parts else '0'})"
    )
