"""Time and memory of `barograph compare` on generated tables: `python -m benchmarks.compare`.

Writes two Parquet files to a temporary folder (40 numeric columns, 8 of categories, event times and a score with its
label; 10 million rows of production by default), runs the command in a process of its own, and prints elapsed time,
CPU time and peak memory.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUMBERS, CATEGORIES = 39, 8
GROUP_ROWS = 500_000
START_S = 1_735_689_600
"""Midnight of 1 January 2025, UTC."""
DAYS, DAY_S = 90, 86_400


def make_table(rng: np.random.Generator, first_s: int, seconds: int, rows: int, shift: float) -> pa.Table:
    """Generate rows in order of time; `shift` moves every fifth number, in standard deviations."""
    at_ms = ((first_s + np.sort(rng.random(rows)) * seconds) * 1000).astype("datetime64[ms]")
    columns = {"at": pa.array(at_ms, pa.timestamp("ms", "UTC"))}
    for i in range(NUMBERS):
        values = rng.standard_normal(rows) + (shift if i % 5 == 0 else 0.0)
        if i % 3 == 1:
            values = np.round(np.exp(values) * 100)
        null = rng.random(rows) < 0.02 if i % 4 == 0 else None
        columns[f"x{i}"] = pa.array(values, mask=null)
    names = pa.array([f"v{code}" for code in range(1_000)])
    for i in range(CATEGORIES):
        codes = np.minimum(rng.zipf(1.5, rows), 5 * 4**i % 900 + 3).astype(np.int32) - 1
        columns[f"c{i}"] = names.take(pa.array(codes))
    score = rng.beta(2, 5, rows)
    return pa.table({**columns, "score": score, "label": rng.random(rows) < score})


def write_file(path: Path, rows: int, first_s: int, shift: float) -> None:
    """Write a file in row groups, so that memory holds one of them."""
    rng = np.random.default_rng(rows + first_s)
    schema = make_table(rng, 0, 1, 1, 0.0).schema
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for first in range(0, rows, GROUP_ROWS):
            size = min(GROUP_ROWS, rows - first)
            start_s, seconds = (DAYS * DAY_S * n // rows for n in (first, size))
            writer.write_table(make_table(rng, first_s + start_s, seconds, size, shift))
    print(f"{path.name}: {rows:,} rows, {path.stat().st_size / 2**20:,.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of production")
    parser.add_argument("--training-rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="barograph-compare-") as folder:
        train, production = Path(folder) / "train.parquet", Path(folder) / "production.parquet"
        write_file(train, arguments.training_rows, START_S - DAYS * DAY_S, 0.0)
        write_file(production, arguments.rows, START_S, 0.5)
        command = [sys.executable, "-m", "barograph_server.cli.main", "compare", str(train), str(production)]
        command += ["--time", "at", "--score", "score", "--label", "label", "--by", "week"]
        command += ["--html", str(Path(folder) / "report.html"), "--json", str(Path(folder) / "report.json")]
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # the command is this project's own
        elapsed_s = time.monotonic() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{elapsed_s:.1f} s elapsed, {used.ru_utime + used.ru_stime:.1f} s of CPU, "
            f"{used.ru_maxrss / 2**20:.2f} GiB peak, {len(os.sched_getaffinity(0))} cores"
        )


if __name__ == "__main__":
    main()
