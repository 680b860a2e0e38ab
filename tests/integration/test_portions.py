"""Many large batches that are fetched at once are counted flush by flush, each event once."""

import pyarrow as pa
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, encode_arrow

from barograph_server.streams.events.batch import MAX_ARROW_MESSAGES
from barograph_server.streams.records import Partial, Progress, decode
from tests.support.pipeline import Pipeline
from tests.support.sketching import flush_until, open_sketcher

START_MS = 1_790_000_000_000
ARROW = [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]
ROWS = 10
MESSAGES = 3 * MAX_ARROW_MESSAGES + 7


def send(pipeline: Pipeline) -> None:
    def encoded(message: int) -> bytes:
        good = [message * ROWS + i for i in range(ROWS - 1)]
        return encode_arrow(
            pa.table(
                {
                    "model": ["toy"] * ROWS,
                    "version": ["1"] * ROWS,
                    "id": [*(f"e{i}" for i in good), None],
                    "at": pa.array([START_MS] * ROWS, pa.int64()),
                    "features.x": [0.5] * ROWS,
                }
            )
        )

    pipeline.produce((0, encoded(message), ARROW) for message in range(MESSAGES))


def outcome(pipeline: Pipeline) -> tuple[int, int, int]:
    """Counted events, dead letters, and flushes that covered offsets."""
    records = [decode(message.value()) for message in pipeline.read_all(pipeline.topics.partials)]
    first = [each for each in records if isinstance(each, Partial) and not each.slice_from and not each.field_from]
    counted = sum(int(partial.counts[0, 0]) for partial in first)
    flushes = sum(isinstance(record, Progress) and record.ranges[0].end > record.ranges[0].start for record in records)
    return counted, len(pipeline.read_all(pipeline.topics.predictions_dead)), flushes


def test_messages_that_exceed_a_flush_are_in_the_next_and_fetched_again_after_a_rebalance(pipeline: Pipeline) -> None:
    pipeline.create()
    send(pipeline)
    restarted: list[int] = []
    with open_sketcher(pipeline, flush_s=2, flush_events=MAX_ARROW_MESSAGES * ROWS) as sketcher:

        def restart_once() -> None:
            if sketcher._consumer.buffered and not restarted:
                restarted.append(sketcher._consumer.buffered)
                sketcher._consumer.restart()
                assert sketcher._consumer.buffered == 0

        flush_until(pipeline, sketcher, {0: MESSAGES}, restart_once)
    assert restarted, "no message exceeded a flush: the test proves nothing"
    counted, dead, flushes = outcome(pipeline)
    assert (counted, dead) == (MESSAGES * (ROWS - 1), MESSAGES)
    assert flushes >= MESSAGES // MAX_ARROW_MESSAGES
