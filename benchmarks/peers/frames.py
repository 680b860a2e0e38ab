"""DataFrames for the peers that process them, split into minutes before the clock starts."""

from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here

from benchmarks.peers.child import MINUTE_MS

AT = "at"


def read_frame(path: Path) -> pd.DataFrame:
    """Read columns that `numpy.savez` wrote; texts become columns of str objects, as usual in pandas."""
    with np.load(path, allow_pickle=False) as result:
        columns = {name: result[name] for name in result.files}
    return pd.DataFrame({name: v.astype(object) if v.dtype.kind == "U" else v for name, v in columns.items()})


def by_minute(frame: pd.DataFrame, n_minutes: int) -> dict[int, pd.DataFrame]:
    """Split a frame into its first minutes, by start (Unix ms), and drop the time column."""
    start = frame[AT] - frame[AT] % MINUTE_MS
    result = {int(at): group.drop(columns=AT).reset_index(drop=True) for at, group in frame.groupby(start)}
    return {at: result[at] for at in sorted(result)[:n_minutes]}


def read_features(path: Path, texts: list[str]) -> pd.DataFrame:
    """Read rows of the scoreboard, which writes an empty text for null."""
    frame = read_frame(path)
    for name in texts:
        frame[name] = frame[name].where(frame[name] != "", None)
    return frame
