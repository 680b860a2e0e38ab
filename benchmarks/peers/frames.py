"""DataFrames for the peers that process them, split into minutes or days."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here

from benchmarks.measured_process import JsonObject
from benchmarks.peers.child import CHUNK, MINUTE_MS

AT = "at"
Detect = Callable[[pd.DataFrame], list[str]]
"""Returns the columns that a peer calls drifted in the rows of a day."""


def read_frame(path: str) -> pd.DataFrame:
    """Read columns that `numpy.savez` wrote; texts become columns of str objects, as usual in pandas."""
    with np.load(Path(path), allow_pickle=False) as result:
        columns = {name: result[name] for name in result.files}
    return pd.DataFrame({name: v.astype(object) if v.dtype.kind == "U" else v for name, v in columns.items()})


def by_minute(frame: pd.DataFrame, n_minutes: int) -> dict[int, pd.DataFrame]:
    """Split a frame into its first minutes, by start (Unix ms), and drop the time column."""
    start = frame[AT] - frame[AT] % MINUTE_MS
    result = {int(at): group.drop(columns=AT).reset_index(drop=True) for at, group in frame.groupby(start)}
    return {at: result[at] for at in sorted(result)[:n_minutes]}


def read_features(parameters: JsonObject, name: str) -> pd.DataFrame:
    """Read rows of the scoreboard, which writes an empty text for null."""
    frame = read_frame(parameters[name])
    for text in parameters["texts"]:
        frame[text] = frame[text].where(frame[text] != "", None)
    return frame


def detect_days(parameters: JsonObject, prepare: Callable[[pd.DataFrame, list[str], list[str]], Detect]) -> JsonObject:
    """Return the columns that a peer calls drifted in each chunk.

    Args:
        prepare: takes the training rows, the columns of numbers and those of texts.
    """
    numbers, texts = parameters["numbers"], parameters["texts"]
    columns = [*numbers, *texts]
    detect = prepare(read_features(parameters, "reference")[columns], numbers, texts)
    chunks = read_features(parameters, "stream").groupby(CHUNK)
    return {"drifted": {str(chunk): detect(rows[columns]) for chunk, rows in chunks}}
