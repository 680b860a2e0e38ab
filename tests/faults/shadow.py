"""A serving process with a shadow is killed beside the recorder and the scorer: each request has its one outcome.

Compared are its journal, the topics, and `shadow_pairs` with the join of `tests.reference.shadow_pairs`.
"""

import math
import random
import signal
import time
from collections import Counter

from tests.faults import serving
from tests.faults.faults import BrokerRestart, Fault, Kill, Warehouse
from tests.faults.kill_points import PAIRING_POINTS
from tests.faults.oracle import SHOWN, Verdict
from tests.faults.storm import Plan, announce, apply_plan
from tests.faults.trial_run import Say, World
from tests.reference.shadow_pairs import BINARY, Pairs, Rows, differences, joined, read_topics, stored
from tests.support.scoring import DAY_MS

SERVING = "serving-0"
COUNTS = {"recorder": 1, "scorer": 1, "serving": 1}
SHORT_KILLS, LONG_KILLS = 2, 20
"""Kills of each kind of process."""
REASONS = frozenset({"error", "timeout", "wrong-output", "skipped-sample", "skipped-queue"})
"""Reasons that every run of the serving process makes; a run without one of them has not tested it."""


def shadow_plan(seed: int, kills: int) -> Plan:
    """Draw the faults in order, each with the pause before it in seconds; `kills` of each kind of process."""
    rng = random.Random(seed)
    points = {kind: [*names] * kills for kind, names in PAIRING_POINTS.items()}
    faults: list[Fault] = []
    for i in range(kills):
        faults += [Kill(kind, points[kind][i // 2] if i % 2 == 0 else "") for kind in ("recorder", "scorer")]
        faults.append(Kill("serving"))
    if kills >= LONG_KILLS:
        faults += [BrokerRestart(killed=True, down_s=rng.uniform(0, 2)) for _ in range(3)]
        faults += [Warehouse(mode, 4.0, "scorer") for mode in ("down", "cut", "lost")]
    rng.shuffle(faults)
    return [(rng.uniform(0.1, 1.0), fault) for fault in faults]


def run_shadow(world: World, plan: Plan, budget_s: float = math.inf) -> Verdict:
    """Serve requests, run all faults of a plan, and compare the pairs with the raw events.

    No fault begins `budget_s` after all processes have started, once each kind of process has been killed.
    """
    began = time.monotonic()
    announce(world, plan)
    _begin(world)
    world.say(f"{time.monotonic() - began:5.0f} s: all processes have started")
    end_s = time.monotonic() + budget_s
    apply_plan(world, plan, began, budget_s, lambda n: time.monotonic() > end_s and has_killed_all(plan[:n]))
    world.stops_s.append(_stop_serving(world))
    journal = serving.read_journal(world.fleet.folder)
    world.source.n = len(journal)
    world.say(f"{time.monotonic() - began:5.0f} s: {len(journal)} requests of {journal[-1][1] + 1} serving processes")
    rows = read_topics(world.pipeline)
    verdict = Verdict()
    check_submitted(verdict, rows, journal, serving.read_outcomes(world.fleet.folder), world.say)
    check_pairs(verdict, rows, world)
    return verdict


def has_killed_all(faults: Plan) -> bool:
    """Tell whether the faults kill each kind of process: a run with fewer has not tested what it reports."""
    return COUNTS.keys() <= {fault.kind for _, fault in faults if isinstance(fault, Kill)}


def _begin(world: World) -> None:
    world.pipeline.create(world.partitions)
    world.pipeline.register(BINARY, [])
    start_ms = (int(time.time() * 1000) // DAY_MS - 30) * DAY_MS
    for kind in COUNTS:
        settings = {"seed": world.seed, "start_ms": start_ms} if kind == "serving" else {}
        world.fleet.add(kind, f"{kind}-0", **settings)
    world.fleet.begin()
    world.wait_begun()


def _stop_serving(world: World) -> float:
    """Let the serving process run for a moment, so that its outcomes are complete, and end it; return the time (s)."""
    served = len(serving.read_journal(world.fleet.folder))
    while len(serving.read_journal(world.fleet.folder)) < served + serving.BURST_EVERY:
        time.sleep(0.1)
    began = time.monotonic()
    world.fleet.stop_member(SERVING, signal.SIGTERM)
    return time.monotonic() - began


def check_submitted(
    verdict: Verdict, rows: Rows, journal: list[tuple[int, int]], outcomes: dict[int, dict[str, int]], say: Say
) -> None:
    """Check what reached Kafka against what was submitted, according to the journal.

    A process that ended by SIGTERM has delivered both events of each of its requests, and its shadow's counts are those
    of the events. A process that was killed may have lost the newest of its events, of either kind.
    """
    of_process = {f"r{number}": process for number, process in journal}
    events = {table: Counter(row["id"] for row in rows[table]) for table in ("predictions", "shadow_predictions")}
    for table, ids in events.items():
        ended = [id for id, process in of_process.items() if process in outcomes]
        killed = {id: ids[id] for id, process in of_process.items() if process not in outcomes and id in ids}
        verdict.rows(f"{table} of serving processes", ids, [*ended, *killed])
        lost = len(of_process) - len(ended) - len(killed)
        say(f"{table}: {lost} of {len(of_process)} events were lost with killed serving processes")
    of_events: dict[int, Counter[str]] = {process: Counter() for process in outcomes}
    for each in rows["shadow_predictions"]:
        process = of_process[each["id"]]
        if process in of_events:
            of_events[process][_outcome(each["error"])] += 1
    for process, counted in outcomes.items():
        recorded, submitted = (
            {(process, name): n for name, n in each.items()} for each in (of_events[process], counted)
        )
        verdict.numbers("outcomes of a shadow", recorded, submitted)


def _outcome(error: str) -> str:
    return error if error.startswith("shadow-") else "error" if error else "answered"


def check_pairs(verdict: Verdict, rows: Rows, world: World) -> None:
    expected, client = joined(rows), world.pipeline.client
    deadline = time.monotonic() + world.quiet_s
    last: Pairs = {}
    while differences(result := stored(client), expected):
        if result != last:
            last, deadline = result, time.monotonic() + world.quiet_s
        if time.monotonic() > deadline:
            world.fleet.dump_stacks()
            break
        time.sleep(0.5)
    client.close()
    verdict.compared["rows of pairs"] += len(expected)
    for difference in differences(result, expected):
        verdict.say(difference)
    total = {key: each for key, each in result.items() if key[0] == "all"}
    requests = len({row["id"] for row in rows["predictions"]})
    missing: Counter[str] = sum((Counter(each["missing"]) for each in total.values()), Counter())
    pairs = sum(each["pairs"] for each in total.values())
    verdict.number("pairs and missing pairs", "all requests", pairs + missing.total(), requests)
    verdict.compared["requests of pairs"] += requests
    world.say(f"{requests} requests = {pairs} pairs + {dict(sorted(missing.items()))}")
    if absent := REASONS - missing.keys():
        verdict.say(f"no request was missing for the reasons {sorted(absent)[:SHOWN]}, so they were not tested")
