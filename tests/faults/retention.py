"""Messages that retention deletes unread are reported as lost, and no verdict claims to be complete without them."""

import signal
import time
from collections import Counter

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.faults import oracle
from tests.faults.expected import Expected, compute_expected
from tests.faults.oracle import Verdict
from tests.faults.trial_run import World
from tests.support.pipeline import wait_for

ROUNDS = 3
WRITTEN = 400
"""Messages sent while the sketchers are stopped; half of them are deleted unread."""


def run_retention(world: World) -> Verdict:
    world.begin({"sketcher": 2, "recorder": 1, "monitor": 1})
    world.wait_begun(300)
    admin = AdminClient({"bootstrap.servers": world.pipeline.bootstrap})
    lost: dict[int, set[int]] = {}
    ranges: list[tuple[int, int, int]] = []
    topic = world.pipeline.topics.predictions
    for i in range(ROUNDS):
        for name in world.fleet.names("sketcher"):
            world.fleet.stop_member(name, signal.SIGKILL if i % 2 else signal.SIGTERM)
        ends = _committed(world)
        before = world.source.n
        while world.source.n < before + WRITTEN:
            time.sleep(0.1)
        world.source.flush()
        partition = i % world.partitions
        until = (ends[partition] + len(world.source.sent[topic, partition])) // 2
        # The recorder must have read them: no raw row is lost here.
        sql = f"SELECT max(offset) FROM predictions WHERE partition = {partition}"
        wait_for(lambda: world.pipeline.rows(sql)[0][0] >= until, f"offset {until} of {partition} recorded", 60)  # noqa: B023
        for future in admin.delete_records([TopicPartition(topic, partition, until)]).values():
            future.result(30)
        lost.setdefault(partition, set()).update(range(ends[partition], until))
        ranges.append((partition, ends[partition], until))
        world.say(f"offsets {ends[partition]} to {until} of partition {partition} were deleted")
        for name in [name for name, each in world.fleet.members.items() if each.kind == "sketcher"]:
            world.fleet.restart(name)
        time.sleep(3.0)
        world.done["retention overtakes a stopped consumer"] += 1
    return _finish(world, lost, ranges)


def _committed(world: World) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": world.pipeline.bootstrap, "group.id": f"{world.pipeline.prefix}sketcher"})
    try:
        expected = [TopicPartition(world.pipeline.topics.predictions, p) for p in range(world.partitions)]
        return {tp.partition: max(0, tp.offset) for tp in consumer.committed(expected, timeout=30)}
    finally:
        consumer.close()


def _finish(world: World, lost: dict[int, set[int]], ranges: list[tuple[int, int, int]]) -> Verdict:
    world.source.stop()
    world.source.end()
    whole = world.expected()
    left = compute_expected(world.source.sent, world.pipeline.topics, world.contract, world.baselines, lost)
    verdict = Verdict()
    world.arrive(left)
    world.observer.stop()
    for violation in world.observer.violations:
        verdict.say(violation)
    oracle.check_panes(verdict, world.pipeline, left)
    oracle.check_raw(verdict, world.pipeline, whole)
    result = world.pipeline.rows("SELECT source_partition, start_offset, end_offset FROM lost_ranges")
    verdict.compared["lost ranges"] += len(ranges)
    if sorted(set(result)) != sorted(ranges):
        verdict.say(f"lost ranges are {sorted(set(result))}, and {sorted(ranges)} were deleted")
    _check_completeness(verdict, world, whole)
    return verdict


def _check_completeness(verdict: Verdict, world: World, expected: Expected) -> None:
    sent: Counter[int] = Counter()
    for (model, _, slice_, start), n in expected.volume.items():
        if (model, slice_) == (world.contract.model, "all"):
            sent[start] += n
    rows = world.pipeline.rows(
        "SELECT toUnixTimestamp(window_start), toUnixTimestamp(window_end), max(completeness), sum(n) "
        "FROM latest_drift WHERE slice = 'all' AND field = 'flag' AND model = {model:String} "
        "GROUP BY window_start, window_end, window",
        {"model": world.contract.model},
    )
    for begin, end, completeness, n in rows:
        whole = sum(count for start, count in sent.items() if begin <= start < end)
        verdict.compared["completeness of windows"] += 1
        if whole and n < whole and completeness >= 1:
            verdict.say(f"the window to {end} claims to be complete with {n} of {whole} events")
