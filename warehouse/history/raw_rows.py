"""Reads raw rows by their offsets in Kafka."""

from typing import NamedTuple

from barograph_server.warehouse.client import Client, identifier


class RawPrediction(NamedTuple):
    """A row of `predictions`; times are Unix milliseconds, and NaN or an empty text stands for no value."""

    partition: int
    offset: int
    version: str
    id: str
    at_ms: int
    received_ms: int
    arm: str
    context: dict[str, str]
    numbers: dict[str, float | None]
    strings: dict[str, str]
    nulls: list[str]
    score: float
    label: str
    """The predicted class."""
    scores: dict[str, float | None]
    metrics: dict[str, float | None]
    latency_ms: float
    status: str
    error: str


def raw_predictions(client: Client, model: str, epoch: int, from_ms: int, to_ms: int) -> list[RawPrediction]:
    """Read the raw predictions of a model in [from, to) that are of one incarnation of the topic."""
    rows = client.rows(
        "SELECT partition, offset, version, id, toUnixTimestamp64Milli(at), toUnixTimestamp64Milli(received_at), arm, "
        "context, numbers, strings, nulls, score, class, scores, metrics, latency_ms, status, error "
        "FROM predictions FINAL WHERE model = {model:String} AND epoch = {epoch:UInt16} "
        "AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at < fromUnixTimestamp64Milli({to_ms:Int64})",
        {"model": model, "epoch": epoch, "from_ms": from_ms, "to_ms": to_ms},
    )
    return [RawPrediction(*row) for row in rows]


def newest_offsets(client: Client, table: str, epoch: int) -> dict[int, int]:
    """Return the newest offset of a table of raw rows by partition, in one incarnation of the topic."""
    return dict(
        client.rows(
            f"SELECT partition, max(offset) FROM {identifier(table)} WHERE epoch = {{epoch:UInt16}} GROUP BY partition",
            {"epoch": epoch},
        )
    )
