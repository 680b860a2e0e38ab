"""`make scoreboard`: scores all faults, and writes docs/scoreboard.json and docs/scoreboard.md."""

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from barograph_server.local.clickhouse import LocalClickHouse
from benchmarks.machine import describe_machine
from benchmarks.scoreboard.data_sets import DATA_SETS
from benchmarks.scoreboard.incidents import FAULT_CLASSES
from benchmarks.scoreboard.page import RECORD, render_page, write_page
from benchmarks.scoreboard.results import Cell
from benchmarks.scoreboard.scores import TRAFFIC, score_in_database

REPEATS = 4
"""Incidents per cell."""


def main() -> int:
    """Run the grid, or a part of it, which is printed and not written."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoreboard", description=__doc__)
    parser.add_argument("--data-set", action="append", choices=list(DATA_SETS), help="only this data set; repeatable")
    parser.add_argument("--fault", action="append", choices=list(FAULT_CLASSES), help="only this fault; repeatable")
    parser.add_argument("--per-hour", action="append", type=float, help="only this traffic; repeatable")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="incidents per cell")
    parser.add_argument("--jobs", type=int, default=2, help="processes that score at the same time")
    parser.add_argument("--seed", type=int, default=22)
    arguments = parser.parse_args()
    is_whole = not (arguments.data_set or arguments.fault or arguments.per_hour) and arguments.repeats == REPEATS
    began = time.monotonic()
    record: dict[str, Any] = {"seed": arguments.seed, "repeats": arguments.repeats, "cells": [], "quiet": []}
    faults = arguments.fault or list(FAULT_CLASSES)
    jobs = [(name, rate) for name in arguments.data_set or DATA_SETS for rate in arguments.per_hour or TRAFFIC]
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalClickHouse(Path(folder), port=0) as engine,
        ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool,
    ):
        # A database per data set and traffic, so that queries do not read the rows of others.
        running = [
            pool.submit(
                score_in_database,
                engine.address(f"scoreboard_{i}"),
                *(name, rate, arguments.repeats, faults, arguments.seed),
            )
            for i, (name, rate) in enumerate(jobs)
        ]
        for (name, rate), future in zip(jobs, running, strict=True):
            for result in future.result():
                record["cells" if isinstance(result, Cell) else "quiet"].append(asdict(result))
            print(f"{time.monotonic() - began:,.0f} s: {name}, {rate:g} events per hour", flush=True)
    record["seconds"] = round(time.monotonic() - began)
    record["machine"] = describe_machine()
    record["peers"] = _peers_of_same_streams(record)
    if not is_whole:
        print(render_page(record))
        return 0
    write_page(record)
    return 0


def _peers_of_same_streams(record: dict[str, Any]) -> dict[str, Any]:
    """Return the results of peers from the page so far, if they had the same streams."""
    if RECORD.exists():
        published: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
        if all(published[name] == record[name] for name in ("seed", "repeats")):
            return dict(published["peers"])
    return {"per_hour": 0, "cells": [], "quiet": [], "runs": []}


if __name__ == "__main__":
    sys.exit(main())
