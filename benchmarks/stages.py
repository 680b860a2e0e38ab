"""Where the sketcher's time goes: its two calculations timed alone, in the benchmark's own process.

What is left of the time that an event costs over Kafka is fetching, sorting messages by where they belong, commits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import numpy as np

from benchmarks.figures import Figures
from benchmarks.workload import Workload
from streams.batch import MOST_ARROW, MessageBatch
from streams.decode_arrow import ArrowDecoder
from streams.decode_json import JsonDecoder
from streams.sketcher import POLL_MESSAGES
from streams.summarise import FlushSummaries

JSON_STAGES = "Where the sketcher's time goes"
ARROW_STAGES = "Where the sketcher's time goes, Arrow batches"
SUMMARISE = "columns into counts and sketches (streams/summarise.py)"
REST = "fetching, sorting, commits: the rest"
TURN_EVENTS = 50_000
"""JSON events that are summarised together: about what a sketcher reads in `TURN_S`."""
TURN_BATCHES = 100
"""Arrow messages of a thousand rows that are: `TURN_BYTES` of columns."""


def time_json(workload: Workload, events: Sequence[bytes]) -> dict[str, float]:
    """Time JSON events, in µs per event by stage."""
    registry = workload.registry()
    decode_s, summarise_s, counted = _time(
        JsonDecoder(registry), FlushSummaries(registry), events, turn=TURN_EVENTS, poll=POLL_MESSAGES
    )
    scale = 1e6 / counted
    return {"JSON into columns (streams/decode_json.py)": decode_s * scale, SUMMARISE: summarise_s * scale}


def time_arrow(workload: Workload, messages: Sequence[bytes]) -> dict[str, float]:
    """Time Arrow messages of many rows, in µs per event by stage."""
    registry = workload.registry()
    decode_s, summarise_s, counted = _time(
        ArrowDecoder(registry), FlushSummaries(registry), messages, turn=TURN_BATCHES, poll=MOST_ARROW
    )
    scale = 1e6 / counted
    return {"Arrow into columns (streams/decode_arrow.py)": decode_s * scale, SUMMARISE: summarise_s * scale}


def add_stages(figures: Figures, section: str, stages: dict[str, list[float]], rates: Sequence[float]) -> None:
    """Add the stages, and what is left of the time that an event takes at the median of some rates (events/s)."""
    whole_us = 1e6 / median(rates)
    for name, spent in stages.items():
        figures.add_runs(section, name, spent, "µs/event")
    left_us = whole_us - sum(median(spent) for spent in stages.values())
    figures.add(section, REST, left_us, "µs/event", f"of {whole_us:.2f} in all")


def _time(
    decoder: JsonDecoder | ArrowDecoder, summaries: FlushSummaries, messages: Sequence[bytes], *, turn: int, poll: int
) -> tuple[float, float, int]:
    """CPU time (s) of decoding and of summarising, and the events there were.

    As in the sketcher, messages come a poll at a time, just copied and so in the processor's cache, and events are
    summarised a turn at a time.
    """
    now_ms = int(time.time() * 1000)
    decode_s = summarise_s = 0.0
    counted = 0
    for begin in range(0, len(messages), turn):
        gathered = decoder.gather()
        for start in range(begin, min(begin + turn, len(messages)), poll):
            some = messages[start : min(start + poll, begin + turn)]
            values: list[bytes | None] = [bytes(bytearray(message)) for message in some]
            n = len(values)
            offsets = np.arange(start, start + n, dtype=np.int64)
            batch = MessageBatch(values, np.zeros(n, np.int32), offsets, np.full(n, now_ms, np.int64))
            began = time.process_time()
            gathered.add(batch)
            decode_s += time.process_time() - began
        began = time.process_time()
        decoded = gathered.take()
        decode_s += time.process_time() - began
        if decoded.dead:
            raise RuntimeError(f"the message at {decoded.dead[0].offset} was refused: {decoded.dead[0].detail}")
        began = time.process_time()
        for columns in decoded.events:
            summaries.add(columns)
        summarise_s += time.process_time() - began
        counted += sum(len(columns.at_ms) for columns in decoded.events)
    return decode_s, summarise_s, counted
