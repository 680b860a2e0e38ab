"""The contents of a topic, recorded while it is written: exact data for comparisons, and DataFrames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.measured_process import JsonObject
from benchmarks.peers.child import MINUTE_MS
from benchmarks.peers.datasketches_minute import row_decoder
from benchmarks.workload import Workload

_BLOCK = 20_000


class TopicContents:
    """The events of a topic as columns: times in ms, numbers as doubles, texts as fixed-width strings; each (n,)."""

    def __init__(self, workload: Workload) -> None:
        self.numbers = [*workload.numbers, "score"]
        self.texts = list(workload.texts)
        self._row = row_decoder(self.names())
        self._blocks: list[dict[str, NDArray[Any]]] = []
        self._columns: dict[str, NDArray[Any]] | None = None

    def names(self) -> JsonObject:
        """The fields that the peers sketch."""
        return {"numbers": self.numbers, "texts": self.texts}

    def record(self, events: Iterable[bytes]) -> Iterator[bytes]:
        """Pass events through and record their contents."""
        block: list[bytes] = []
        for event in events:
            block.append(event)
            if len(block) == _BLOCK:
                self._keep(block)
                block.clear()
            yield event
        self._keep(block)

    def record_batches(self, messages: Iterable[bytes]) -> Iterator[bytes]:
        """Pass messages of Arrow batches through and record their contents."""
        for message in messages:
            table = pa.ipc.open_stream(message).read_all()
            sources = {name: name if name == "score" else f"features.{name}" for name in self.numbers}
            block = {name: table[source].to_numpy() for name, source in sources.items()}
            for name in self.texts:
                block[name] = np.array(table[f"features.{name}"].to_pylist(), dtype=np.str_)
            block["at"] = table["at"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy()
            self._blocks.append(block)
            yield message

    def _keep(self, block: list[bytes]) -> None:
        if not block:
            return
        at, numbers, texts = zip(*map(self._row, block), strict=True)
        columns: dict[str, NDArray[Any]] = {"at": np.array(at, dtype=np.int64)}
        for name, number in zip(self.numbers, zip(*numbers, strict=True), strict=True):
            columns[name] = np.array(number, dtype=np.float64)
        for name, text in zip(self.texts, zip(*texts, strict=True), strict=True):
            columns[name] = np.array(text, dtype=np.str_)
        self._blocks.append(columns)

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """All columns by name; only valid after all events were recorded."""
        if self._columns is None:
            self._columns = {name: np.concatenate([b[name] for b in self._blocks]) for name in self._blocks[0]}
            self._blocks.clear()
        return self._columns

    def minutes(self) -> dict[int, int]:
        """Start of the minute (Unix ms) → number of events, in order."""
        starts, counts = np.unique(self._starts(), return_counts=True)
        return dict(zip(starts.tolist(), counts.tolist(), strict=True))

    def within(self, starts: Iterable[int]) -> dict[str, NDArray[Any]]:
        """The columns of the events in the given minutes."""
        chosen = np.isin(self._starts(), list(starts))
        return {name: values[chosen] for name, values in self.columns.items()}

    def write(self, path: Path, starts: Iterable[int]) -> None:
        """Write the events in the given minutes to a file of columns."""
        write_columns(path, self.within(starts))

    def _starts(self) -> NDArray[np.int64]:
        at: NDArray[np.int64] = self.columns["at"]
        return at - at % MINUTE_MS


def write_columns(path: Path, columns: dict[str, Any]) -> None:
    """Write columns, each (n,), as `frames.read_frame` reads them."""
    np.savez(path, **columns)


def counted(texts: NDArray[Any]) -> dict[str, int]:
    """Count texts exactly."""
    return dict(Counter(texts.tolist()))
