"""`make fuzz`: every decoder under libFuzzer, twenty million executions in total; exits with 1 if any has a fault.

A target runs in a separate process, from the seeds and the corpus. `--keep` adds inputs that reached new code to the
corpus. An input that causes a fault is printed in base64, with the command that repeats it.
"""

import argparse
import base64
import math
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
from typing import Any

from tests.fuzz.corpus import read_corpus, write_corpus
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, run

RUNS = 20_000_000
JOBS = 2
HANG_S = 20
"""An execution that takes longer is a fault, in seconds."""
RSS_MB = 1024
MALLOC_MB = 256
PROCESS_S = 60
"""Duration of one process, in seconds. Atheris leaks some kilobytes per slow execution (the same inputs without it leak
nothing), so a process of millions of them would exceed `RSS_MB`; a process takes four seconds to start."""
STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    target: str
    executions: int
    took_s: float
    peak_mb: int
    corpus: list[bytes]
    fault: bytes | None
    """The input that caused a fault."""
    log: str


def fuzz(target: str, runs: int, seed: int) -> Outcome:
    """Fuzz one target in a sequence of processes; each starts with the corpus of the previous one."""
    inputs = [*seeds()[target], *read_corpus(target)]
    executions, took_s, peak_mb = 0, 0.0, 0
    most = int(PROCESS_S * 1e6 / TARGETS[target].cost_us)
    for i, start in enumerate(range(0, runs, most)):
        result = _fuzz_once(target, min(most, runs - start), seed + i, inputs)
        executions, took_s = executions + result.executions, took_s + result.took_s
        peak_mb = max(peak_mb, result.peak_mb)
        inputs = result.corpus
        if result.fault is not None:
            break
    return replace(result, executions=executions, took_s=took_s, peak_mb=peak_mb)


def _fuzz_once(target: str, runs: int, seed: int, inputs: list[bytes]) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        corpus, faults = Path(folder, "corpus"), Path(folder, "faults")
        corpus.mkdir()
        faults.mkdir()
        for i, data in enumerate(inputs):
            (corpus / f"{i:05}").write_bytes(data)
        began = time.monotonic()
        limits = [f"-timeout={HANG_S}", f"-rss_limit_mb={RSS_MB}", f"-malloc_limit_mb={MALLOC_MB}"]
        options = [f"-runs={runs}", f"-seed={seed}", f"-max_len={TARGETS[target].max_bytes}", *limits]
        output = [f"-artifact_prefix={faults}/", "-print_final_stats=1", "-verbosity=0"]
        command = [sys.executable, "-m", "tests.fuzz.child", target, *options, *output, str(corpus)]
        piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "errors": "replace"}
        environ = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, **piped, text=True, env=environ, check=False)
        took_s = time.monotonic() - began
        statistics = {name: int(n) for name, n in STATISTIC.findall(done.stdout)}
        failing = [each.read_bytes() for each in sorted(faults.iterdir())]
        executions = statistics.get("number_of_executed_units", 0)
        if (done.returncode or executions < runs) and not failing:
            failing = [b""]
        return Outcome(
            target,
            executions,
            took_s,
            statistics.get("peak_rss_mb", 0),
            [each.read_bytes() for each in sorted(corpus.iterdir())],
            failing[0] if failing else None,
            done.stdout,
        )


def fuzz_all(targets: list[str], runs: int, seed: int, jobs: int) -> Iterator[Outcome]:
    """Fuzz targets in parallel, each with its share of the executions, first those that take longest."""
    whole = sum(TARGETS[target].share for target in targets)
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [
            pool.submit(fuzz, target, math.ceil(runs * TARGETS[target].share / whole), seed)
            for target in sorted(targets, key=lambda target: -TARGETS[target].share * TARGETS[target].cost_us)
        ]
        for each in waiting:
            yield each.result()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="total number of executions (%(default)s)")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this; may be repeated")
    parser.add_argument("--seed", type=int, default=None, help="seed, which is printed; random by default")
    parser.add_argument("--jobs", type=int, default=JOBS, help="parallel processes (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="add inputs that reached new code to tests/fuzz/corpus")
    parser.add_argument("--input", help="run only this input (base64) against --target")
    arguments = parser.parse_args()
    targets = arguments.target or list(TARGETS)
    if arguments.input is not None:
        run(targets[0], base64.b64decode(arguments.input))
        print("decoded, or rejected with the decoder's own error")
        return 0
    seed = random.SystemRandom().randrange(1, 2**31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}, {arguments.runs:,} executions\n\n| Target | Executions | Seconds | Peak MiB | Outcome |")
    print("|---|--:|--:|--:|---|")
    faulty = []
    executions = 0
    for outcome in fuzz_all(targets, arguments.runs, seed, arguments.jobs):
        executions += outcome.executions
        status = "no fault" if outcome.fault is None else "FAULT"
        figures = f"{outcome.executions:,} | {outcome.took_s:,.0f} | {outcome.peak_mb}"
        print(f"| {outcome.target} | {figures} | {status} |", flush=True)
        if outcome.fault is not None:
            faulty.append(outcome)
        if arguments.keep:
            write_corpus(outcome.target, outcome.corpus)
    print(f"\n{executions:,} executions, {len(faulty)} faults")
    for outcome in faulty:
        print(f"\n{outcome.target}:\n{outcome.log[-4000:]}")
        again = base64.b64encode(outcome.fault or b"").decode()
        print(f"To repeat: python -m tests.fuzz --target {outcome.target} --input '{again}'")
    return 1 if faulty else 0


if __name__ == "__main__":
    raise SystemExit(main())
