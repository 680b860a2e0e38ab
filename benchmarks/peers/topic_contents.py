"""The contents of a topic, recorded while it is written: exact data for comparisons, and DataFrames."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.peers.child import MINUTE_MS
from benchmarks.peers.datasketches_minute import row_decoder

_BLOCK = 20_000


class TopicContents:
    """The events of a topic as columns: times in ms and numbers as doubles; each (n,)."""

    def __init__(self, numbers: Iterable[str]) -> None:
        self.numbers = [*numbers, "score"]
        self._row = row_decoder(self.numbers)
        self._blocks: list[dict[str, NDArray[Any]]] = []
        self._columns: dict[str, NDArray[Any]] | None = None

    def record(self, events: Iterable[bytes]) -> Iterator[bytes]:
        """Pass events through and record their contents."""
        remaining = iter(events)
        while block := list(islice(remaining, _BLOCK)):
            at, numbers = zip(*map(self._row, block), strict=True)
            columns = dict(zip(self.numbers, np.array(numbers, dtype=np.float64).T, strict=True))
            self._blocks.append({"at": np.array(at, dtype=np.int64), **columns})
            yield from block

    def record_batches(self, messages: Iterable[bytes]) -> Iterator[bytes]:
        """Pass messages of Arrow batches through and record their contents."""
        for message in messages:
            table = pa.ipc.open_stream(message).read_all()
            sources = {name: name if name == "score" else f"features.{name}" for name in self.numbers}
            block = {name: table[source].to_numpy() for name, source in sources.items()}
            block["at"] = table["at"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy()
            self._blocks.append(block)
            yield message

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """All columns, in the order of the events."""
        if self._columns is None:
            self._columns = {name: np.concatenate([b[name] for b in self._blocks]) for name in self._blocks[0]}
            self._blocks.clear()
        return self._columns

    def minutes(self) -> dict[int, int]:
        """Start of the minute (Unix ms) → number of events, in order."""
        starts, counts = np.unique(self._starts(), return_counts=True)
        return dict(zip(starts.tolist(), counts.tolist(), strict=True))

    def within(self, starts: Iterable[int]) -> dict[str, NDArray[Any]]:
        """The columns of the events in some minutes."""
        is_within = np.isin(self._starts(), list(starts))
        return {name: values[is_within] for name, values in self.columns.items()}

    def write(self, path: Path, starts: Iterable[int]) -> None:
        """Write the events in some minutes as `frames.read_frame` reads them."""
        np.savez(path, **self.within(starts))  # type: ignore[arg-type]

    def _starts(self) -> NDArray[np.int64]:
        at: NDArray[np.int64] = self.columns["at"]
        return at - at % MINUTE_MS
