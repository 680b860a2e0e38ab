"""The fault harness: `python -m tests.faults`, or `make faults`; SHORT=1 runs the short form of CI.

Broker, engine and processors are real processes. Faults follow a plan drawn from a seed and printed; an oracle computed
from the source data alone is compared with all that was written. The exit code is 1 if anything differs.
"""

import argparse
import faulthandler
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from tests.faults.faults import LONG, SHORT, STORMS, DiskFull, Fault, Kill, NoSmallDisk, make_plan, small_disk
from tests.faults.guard import run_guard, run_paused_guard
from tests.faults.live import COUNTS, live_contract, live_plan
from tests.faults.oracle import Verdict
from tests.faults.report import Result, table, write_page
from tests.faults.retention import run_retention
from tests.faults.sabotage import NO_FENCE, SABOTAGES
from tests.faults.shadow import LONG_KILLS, SHORT_KILLS, run_shadow, shadow_plan
from tests.faults.storm import run_storm, run_trial
from tests.faults.trial_run import Servers, World

SHORT_S = 90.0
"""Time for the storm of the short form, in seconds. The whole short form then takes less than five minutes."""
SHADOW_SHORT_S = 30.0
SCENARIOS = ("storm", "live", "shadow", "guard", "retention", "disk", "trials")


class Harness:
    def __init__(self, folder: Path, seed: int, storms: range, *, short: bool) -> None:
        self.folder, self.seed, self.storms, self.short = folder, seed, storms, short
        self.results: list[Result] = []
        self.omitted: list[str] = []
        self.servers = Servers(LocalKafka(folder / "kafka", port=0), LocalClickHouse(folder / "clickhouse", port=0))

    def storm(self) -> None:
        if self.short:
            plan = make_plan(self.seed, SHORT)
            self.run("storm", lambda world: run_storm(world, plan, budget_s=SHORT_S), rate=100.0)
            return
        for i in self.storms:
            plan = make_plan(self.seed + i, LONG)
            self.run(f"storm {i + 1}", partial(run_storm, plan=plan), seed=self.seed + i, rate=60.0)

    def live(self) -> None:
        plan = live_plan(self.seed, short=self.short)
        run = partial(run_storm, plan=plan, counts=COUNTS)
        self.run("live", run, clock="live", contract=live_contract(), rate=40.0)

    def shadow(self) -> None:
        plan = shadow_plan(self.seed, SHORT_KILLS if self.short else LONG_KILLS)
        budget_s = SHADOW_SHORT_S if self.short else float("inf")
        self.run("shadow", lambda world: run_shadow(world, plan, budget_s), quiet_s=30.0)

    def guard(self) -> None:
        self.run("guard", lambda world: run_guard(world, short=self.short), clock="live")
        self.run(NO_FENCE.name, run_paused_guard, sabotage=NO_FENCE.name, clock="live")

    def retention(self) -> None:
        self.run("retention", run_retention, rate=100.0)

    def disk(self) -> None:
        try:
            with small_disk(self.folder / "small") as disk:
                engine = LocalClickHouse(disk / "clickhouse", port=0)
                engine.start()
                plan: list[tuple[float, Fault]] = [
                    (1.0, DiskFull(disk, 8.0, kind)) for kind in ("recorder", "monitor", "scorer")
                ]
                plan.insert(1, (0.5, Kill("sketcher", "in-transaction")))
                try:
                    self.run("disk", lambda world: run_storm(world, plan), Servers(self.servers.broker, engine))
                finally:
                    engine.stop()
        except NoSmallDisk as error:
            self.omitted.append("disk full")
            say(f"\n!!! NOT TESTED: a full disk. Mounting a small disk failed ({error}); it requires root.\n")

    def trials(self) -> None:
        if not self.short:
            # The control: without sabotage the trial passes. In the short form the storm is the control.
            self.run("trial", run_trial, rate=200.0)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda name: self.run(name, run_trial, sabotage=name, rate=200.0, quiet_s=10.0), SABOTAGES))

    def run(
        self, scenario: str, act: Callable[[World], Verdict], servers: Servers | None = None, **settings: Any
    ) -> None:
        began, seed = time.monotonic(), settings.pop("seed", self.seed)
        say(f"\n=== {scenario}, seed {seed}")
        folder = self.folder / scenario.replace(" ", "-")
        world = World(servers or self.servers, folder, seed, lambda what: say(f"   {scenario}: {what}"), **settings)
        try:
            verdict = act(world)
        except Exception as error:
            verdict = Verdict()
            verdict.fail(f"the scenario failed: {error}")
            traceback.print_exc()
        finally:
            world.close()
        counted = world.done, world.kills, world.source.n, world.stops_s, world.fleet.ends
        took_s, must_fail = time.monotonic() - began, bool(world.sabotage)
        result = Result(scenario, seed, took_s, verdict, *counted, must_fail=must_fail)
        self.results.append(result)
        differences = verdict.summary_lines() if not result.must_fail else verdict.summary_lines()[:2]
        ends = [f"exited by itself {n} times: {end}" for end, n in world.fleet.ends.items()]
        say("\n    ".join([f"--- {result.summary()}", *differences, *ends]))


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="run the short form of CI, in less than five minutes")
    parser.add_argument("--seed", type=int, default=None, help="seed of the plan and the source; random by default")
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, separated by commas")
    parser.add_argument("--storms", default=f"1-{STORMS}", help="storms of the long form, such as 2 or 1-3")
    parser.add_argument("--write", action="store_true", help="write the table to docs/reliability.md")
    parser.add_argument("--keep", type=Path, help="a folder that keeps logs and data, which are deleted by default")
    faulthandler.register(signal.SIGUSR1)
    # On SIGTERM the harness stops its processors before it exits.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else int.from_bytes(os.urandom(3))
    chosen = [name for name in SCENARIOS if name in arguments.only.split(",")]
    if arguments.short and arguments.only == ",".join(SCENARIOS):
        chosen = ["storm", "shadow", "guard", "trials"]
    say(f"Seed {seed}: `make faults SEED={seed}{' SHORT=1' if arguments.short else ''}` draws the same plan.")
    with tempfile.TemporaryDirectory(prefix="barograph-faults-") as scratch:
        first, _, last = arguments.storms.partition("-")
        storms = range(int(first) - 1, int(last or first))
        harness = Harness(arguments.keep or Path(scratch), seed, storms, short=arguments.short)
        with harness.servers.broker, harness.servers.engine:
            for name in chosen:
                getattr(harness, name)()
    command = f"make faults SEED={seed}" + (" SHORT=1" if arguments.short else "")
    text = table(harness.results, command, harness.omitted)
    say(f"\n{text}\n")
    # What failed comes last: of a long output, many machines keep the end.
    for result in sorted(harness.results, key=lambda each: not each.passed):
        if not (result.passed or result.must_fail):
            say("\n    ".join(["", *result.verdict.summary_lines(), *result.verdict.evidence]))
        say(result.summary())
    if arguments.write:
        write_page(text)
    return 0 if harness.results and all(each.passed for each in harness.results) else 1


if __name__ == "__main__":
    sys.exit(main())
