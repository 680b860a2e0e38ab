"""Time of the sketcher by stage: decoding and summarizing, measured in the benchmark's process.

The rest of the time of an event over Kafka is for fetching, sorting messages by partition and offset, and commits.
"""

import time
from collections.abc import Sequence
from statistics import median
from typing import Literal

import numpy as np

from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import MAX_ARROW_MESSAGES, MessageBatch
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.sketcher.sketcher import POLL_MESSAGES
from barograph_server.streams.sketcher.summarise import FlushSummaries
from benchmarks.figures import Figures
from benchmarks.workload import Workload

JSON_STAGES = "Where the sketcher's time goes"
ARROW_STAGES = "Where the sketcher's time goes, Arrow batches"
JSON_DECODER = "JSON into columns (streams/events/json_decoder.py)"
PURE_DECODER = "JSON into columns, without barograph-native"
ARROW_DECODER = "Arrow into columns (streams/events/arrow_decoder.py)"
SUMMARISE = "columns into counts and sketches (streams/sketcher/summarise.py)"
REST = "fetching, sorting, commits: the rest"
TURN_EVENTS = 50_000
"""JSON events that are summarized together: about as many as a sketcher reads in `BATCH_S`."""
TURN_BATCHES = 100
"""Arrow messages of 1,000 rows that are summarized together: `BATCH_BYTES` of columns."""


def add_stages(figures: Figures, section: str, runs: Sequence[dict[str, float]], rates: Sequence[float]) -> None:
    """Add the stages of several runs, and the rest of the time per event at the median of `rates` (events/s)."""
    whole_us = left_us = 1e6 / median(rates)
    for name in runs[0]:
        spent = [run[name] for run in runs]
        figures.add_runs(section, name, spent, "µs/event")
        left_us -= median(spent)
    figures.add(section, REST, left_us, "µs/event", f"of {whole_us:.2f} in all")


def time_stages(
    workload: Workload, messages: Sequence[bytes], form: Literal["json", "arrow"], *, native: bool = True
) -> dict[str, float]:
    """CPU time of decoding and of summarizing by stage (µs per event).

    As in the sketcher, messages are decoded a poll at a time and are in the CPU cache because they were just copied,
    and `turn` messages are summarized together.
    """
    registry = workload.registry()
    summaries = FlushSummaries(registry)
    decoder: JsonDecoder | ArrowDecoder
    if form == "json":
        decoder, title, turn, poll = JsonDecoder(registry, native=native), JSON_DECODER, TURN_EVENTS, POLL_MESSAGES
    else:
        decoder, title, turn, poll = ArrowDecoder(registry), ARROW_DECODER, TURN_BATCHES, MAX_ARROW_MESSAGES
    now_ms = int(time.time() * 1000)
    decode_s = summarise_s = 0.0
    counted = 0
    for begin in range(0, len(messages), turn):
        gathered = decoder.accumulator()
        for start in range(begin, min(begin + turn, len(messages)), poll):
            subset = messages[start : min(start + poll, begin + turn)]
            values: list[bytes | None] = [bytes(bytearray(message)) for message in subset]
            n = len(values)
            offsets = np.arange(start, start + n, dtype=np.int64)
            batch = MessageBatch(values, np.zeros(n, np.int32), offsets, np.full(n, now_ms, np.int64))
            began = time.process_time()
            gathered.add(batch)
            decode_s += time.process_time() - began
        began = time.process_time()
        decoded = gathered.take()
        decode_s += time.process_time() - began
        if decoded.rejected:
            dead = decoded.rejected[0]
            raise RuntimeError(f"the message at {dead.offset} was rejected: {dead.detail}")
        began = time.process_time()
        for columns in decoded.events:
            summaries.add(columns)
        summarise_s += time.process_time() - began
        counted += sum(map(len, decoded.events))
    return {title: decode_s * 1e6 / counted, SUMMARISE: summarise_s * 1e6 / counted}


def time_pure_decoder(workload: Workload, messages: Sequence[bytes]) -> dict[str, float]:
    """CPU time of decoding JSON where barograph-native is not installed (µs per event)."""
    return {PURE_DECODER: time_stages(workload, messages, "json", native=False)[JSON_DECODER]}
