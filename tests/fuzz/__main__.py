"""`make fuzz`: every decoder under libFuzzer, ten million executions in all; exits with 1 where one found a fault.

A target runs in a process of its own, from the seeds and the inputs that earlier runs kept. What reached new code is
kept by `--keep`. A fault is printed as base64 with the words to run it alone.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fuzz.corpus import read_corpus, write_corpus
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, run

RUNS = 10_000_000
JOBS = 2
HANG_S = 20
"""An execution that takes longer is a fault."""
RSS_MB = 1024
"""A process that holds more is a fault."""
SLICE = 100_000
"""Executions of one process: atheris itself keeps some kilobytes of each that takes long (the same inputs without it
keep nothing), so that a process of millions would be stopped for it."""
STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one target."""

    target: str
    executions: int
    took_s: float
    peak_mb: int
    kept: list[bytes]
    fault: bytes | None
    """The input that failed."""
    log: str


def fuzz(target: str, runs: int, seed: int) -> Outcome:
    """Fuzz one target in processes of its own, one after the other; each begins with what those before it kept."""
    retained = [*seeds()[target], *read_corpus(target)]
    executions, took_s, peak_mb = 0, 0.0, 0
    for i, start in enumerate(range(0, runs, SLICE)):
        result = _fuzz_once(target, min(SLICE, runs - start), seed + i, retained)
        executions, took_s, peak_mb = (
            executions + result.executions,
            took_s + result.took_s,
            max(peak_mb, result.peak_mb),
        )
        retained = result.kept
        if result.fault is not None:
            break
    return replace(result, executions=executions, took_s=took_s, peak_mb=peak_mb)


def _fuzz_once(target: str, runs: int, seed: int, kept: list[bytes]) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        corpus, faults = Path(folder, "corpus"), Path(folder, "faults")
        corpus.mkdir()
        faults.mkdir()
        for i, data in enumerate(kept):
            (corpus / f"{i:05}").write_bytes(data)
        began = time.monotonic()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.child", target),
                *(f"-runs={runs}", f"-seed={seed}", f"-max_len={TARGETS[target].max_bytes}"),
                *(f"-timeout={HANG_S}", f"-rss_limit_mb={RSS_MB}", f"-artifact_prefix={faults}/"),
                *("-print_final_stats=1", "-verbosity=0", str(corpus)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )
        took_s = time.monotonic() - began
        message = {name: int(n) for name, n in STATISTIC.findall(done.stdout)}
        result = [each.read_bytes() for each in sorted(faults.iterdir())]
        if done.returncode and not result:
            result = [b""]
        return Outcome(
            target,
            message.get("number_of_executed_units", 0),
            took_s,
            message.get("peak_rss_mb", 0),
            [each.read_bytes() for each in sorted(corpus.iterdir())],
            result[0] if result else None,
            done.stdout,
        )


def fuzz_all(targets: list[str], runs: int, seed: int, jobs: int) -> Iterator[Outcome]:
    """Fuzz targets beside one another, each with its share of the executions, the longest first."""
    whole = sum(TARGETS[target].share for target in targets)
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [
            pool.submit(fuzz, target, round(runs * TARGETS[target].share / whole), seed)
            for target in sorted(targets, key=lambda target: -TARGETS[target].cost)
        ]
        for each in waiting:
            yield each.result()


def main() -> int:
    """Fuzz and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="executions in all (%(default)s)")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="these only")
    parser.add_argument("--seed", type=int, default=None, help="random otherwise; it is printed")
    parser.add_argument("--jobs", type=int, default=JOBS, help="processes at once (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="add what reached new code to tests/fuzz/corpus")
    parser.add_argument("--input", help="run one input (base64) against the one --target, and nothing else")
    arguments = parser.parse_args()
    targets = arguments.target or list(TARGETS)
    if arguments.input is not None:
        run(targets[0], base64.b64decode(arguments.input))
        print("read, or refused in the decoder's words")
        return 0
    seed = random.SystemRandom().randrange(1, 2**31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}, {arguments.runs:,} executions\n\n| Target | Executions | Seconds | Peak MiB | Outcome |")
    print("|---|--:|--:|--:|---|")
    faulty = []
    executions = 0
    for outcome in fuzz_all(targets, arguments.runs, seed, arguments.jobs):
        executions += outcome.executions
        message = "no fault" if outcome.fault is None else "FAULT"
        print(
            f"| {outcome.target} | {outcome.executions:,} | {outcome.took_s:,.0f} | {outcome.peak_mb} | {message} |",
            flush=True,
        )
        if outcome.fault is not None:
            faulty.append(outcome)
        if arguments.keep:
            write_corpus(outcome.target, outcome.kept)
    print(f"\n{executions:,} executions, {len(faulty)} faults")
    for outcome in faulty:
        print(f"\n{outcome.target}:\n{outcome.log[-4000:]}")
        again = base64.b64encode(outcome.fault or b"").decode()
        print(f"Alone: python -m tests.fuzz --target {outcome.target} --input '{again}'")
    return 1 if faulty else 0


if __name__ == "__main__":
    raise SystemExit(main())
