"""Rows of `offset_ledger`, `losses` and `progress`: how far one partition of `partials` is."""

from barograph_server.streams.monitor.state.commit_rows import Row
from barograph_server.streams.monitor.state.model import ModelState
from barograph_server.streams.monitor.state.offset_ledger import END_OF_TIME_MS, Loss, OffsetLedger


def ledger_rows(ledger: OffsetLedger, partials_partition: int, partials_topic_id: str, epoch: int) -> list[Row]:
    """Return the rows of `offset_ledger` that changed since the last commit.

    Args:
        partials_topic_id: Kafka's id of the topic `partials`.
        epoch: the incarnation of the topic.
    """
    return [
        {
            "partials_partition": partials_partition,
            "source_partition": partition,
            "end_offset": row.end,
            "watermarks": list(row.watermarks.items()),
            "last_event_at": row.last_event_ms,
            "partitions": ledger.partitions,
            "counted_at": ledger.counted_ms,
            "source_topic_id": row.source_topic_id,
            "partials_topic_id": partials_topic_id,
            "epoch": epoch,
            "record_seq": max(row.record_seq, 0),
        }
        for partition, row in sorted(ledger.rows.items())
        if row.dirty
    ]


def loss_rows(losses: list[Loss], partials_partition: int, now_ms: int) -> list[Row]:
    """Return rows of `losses`, recorded at `now_ms`."""
    return [
        {
            "partials_partition": partials_partition,
            "source_partition": loss.source_partition,
            "start_offset": loss.start,
            "end_offset": loss.end,
            "from_time": loss.from_ms,
            "to_time": min(loss.to_ms, END_OF_TIME_MS),
            "reason": loss.reason,
            "recorded_at": now_ms,
            "record_seq": loss.record_seq,
        }
        for loss in losses
    ]


def progress_rows(
    state: ModelState, ledger: OffsetLedger, partials_partition: int, record_seq: int, now_ms: int
) -> list[Row]:
    """Return the row of `progress` of a model; none before its first seal.

    Args:
        ledger: has the model's watermark.
        partials_partition: the model's partition of `partials`.
        record_seq: of the progress record that triggers the commit.
        now_ms: Unix ms.
    """
    contract = state.contract
    watermark_ms = ledger.watermark_ms(contract.model, contract.out_of_order_s * 1000)
    if watermark_ms is None or state.sealed_until_s is None:
        return []
    return [
        {
            "partials_partition": partials_partition,
            "model": contract.model,
            "watermark": max(0, min(watermark_ms, END_OF_TIME_MS)),
            "sealed_until": state.sealed_until_s * 1000,
            "updated_at": now_ms,
            "record_seq": record_seq,
        }
    ]
