"""The sketcher beside its peers on the same events, in turns, and whether all of them found the same."""

from __future__ import annotations

import sys
import time
import uuid
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from benchmarks.figures import Figures, spread
from benchmarks.peers.child import MINUTE_MS, Told
from benchmarks.peers.compare import Comparison, compare
from benchmarks.peers.drawn import Drawn
from benchmarks.peers.environments import PeerError, install, run
from benchmarks.peers.ours import read_panes, without_slices
from benchmarks.peers.psi import Columns, PsiComparison, compare_psi, our_psi
from benchmarks.workload import ARROW_HEADERS, ARROW_ROWS, Workload, arrow_messages, json_events
from benchmarks.world import World
from streams.sketcher import GROUP

RATES = "Beside its peers, events per CPU-second"
RATIOS = "The sketcher ÷ its peers"
DATABASE = "peers"
PREFIX, ARROW_PREFIX = "peers-", "peers-arrow-"
KEYED = "peers-keyed"
"""The first minutes again, each message with a key: the windows of Quix Streams leave out messages without."""
MINUTES = 10
"""Of event time, whole ones, over which a topic's events are spread."""
FRAMES = 3
ARROW_TIMES = 3
"""How many times as many events the topic of Arrow batches has: they are read sooner."""
FLUSH_S = 2.0
SKETCHER, ARROW, EMPTY = "sketcher, JSON", f"sketcher, Arrow batches of {ARROW_ROWS:,}", "Faust, empty loop"


class Peer(NamedTuple):
    """One way of one peer."""

    name: str
    """Of its folder."""
    way: str
    title: str
    minutes: int
    """How many of the topic's minutes it is given: fewer to the slow."""
    brief: bool = False
    """Whether it is measured where there is but one turn."""
    keyed: bool = False


WHYLOGS = "whylogs, `why.log(frame)`"
PEERS = (
    Peer("faust", "events", "Faust, event by event", 1),
    Peer("faust", "take", "Faust, `take`", 1, brief=True),
    Peer("quixstreams", "windows", "Quix Streams, its windows", 1, keyed=True),
    Peer("quixstreams", "stateless", "Quix Streams, batches beside its state", 2, brief=True),
    Peer("bytewax", "windows", "Bytewax, events folded in its windows", 1),
    Peer("bytewax", "batches", "Bytewax, batches folded in its windows", 4, brief=True),
    Peer("whylogs", "default", WHYLOGS, FRAMES, brief=True),
    Peer("whylogs", "lean", "whylogs, KLL of k = 200 and frequent items alone", FRAMES),
    Peer("evidently", "psi", "Evidently, PSI by `DataDriftPreset`", 1, brief=True),
)
GOALS = ((SKETCHER, EMPTY, 15.0), (SKETCHER, WHYLOGS, 1.5), (ARROW, WHYLOGS, 20.0))
"""What is divided by what, and the least that is to come of it."""


@dataclass(frozen=True)
class _Topic:
    """What a sketcher reads and what is in it."""

    prefix: str
    events: int
    drawn: Drawn
    parts: str


class _Bench:
    """The topics, the frames, and what was found so far."""

    def __init__(self, world: World, workload: Workload, events: int) -> None:
        self._world, self._workload = world, workload
        first_ms = (int(time.time() * 1000) // MINUTE_MS - MINUTES - 1) * MINUTE_MS
        span = first_ms, first_ms + MINUTES * MINUTE_MS - 1
        self.json = self._fill_json(events, span)
        self.arrow = self._fill_arrow(ARROW_TIMES * events, span)
        starts = list(self.json.drawn.minutes())
        self._frame, self._reference = world.folder / "peers-frame.npz", world.folder / "peers-reference.npz"
        self.json.drawn.write(self._frame, starts[:FRAMES])
        self._training = _training(world.folder, workload)
        np.savez(self._reference, **self._training)
        self._our_psi: dict[int, dict[str, float]] = {}
        self.rates: dict[str, list[float]] = {}
        self.compared: dict[str, Comparison | PsiComparison] = {}

    def _fill_json(self, events: int, span: tuple[int, int]) -> _Topic:
        topics = self._world.create_topics(PREFIX)
        drawn = Drawn(self._workload)
        self._world.fill(topics.predictions, drawn.watch(json_events(self._workload, events, *span)))
        some = islice(json_events(self._workload, events, *span), 2 * events // MINUTES)
        self._world.create_topic(KEYED)
        self._world.fill(KEYED, some, key=self._workload.contract.model.encode())
        return _Topic(PREFIX, events, drawn, topics.parts)

    def _fill_arrow(self, events: int, span: tuple[int, int]) -> _Topic:
        topics = self._world.create_topics(ARROW_PREFIX)
        drawn = Drawn(self._workload)
        messages = drawn.watch_batches(arrow_messages(self._workload, events, *span))
        self._world.fill(topics.predictions, messages, ARROW_HEADERS)
        return _Topic(ARROW_PREFIX, events, drawn, topics.parts)

    def sketch(self, title: str, topic: _Topic) -> None:
        """Let a new sketcher read a topic from its start, and compare the parts that it committed."""
        world = self._world
        world.forget_group(f"{topic.prefix}{GROUP}")
        begin = world.end_offset(topic.parts)
        warm = next(json_events(self._workload, 1, 0, 1)).decode()
        found = world.run_child(
            "sketcher", prefix=topic.prefix, database=DATABASE, events=topic.events, flush_s=FLUSH_S, warm=warm
        )
        panes = read_panes(world, self._workload, topic.parts, begin)
        if topic is self.json:
            self._our_psi = our_psi(panes)
        self._keep(title, found, compare(panes.result(), topic.drawn))

    def empty_loop(self) -> None:
        """Let Faust read a minute's events and do nothing with them."""
        found = self._world.run_child(
            "faust",
            topic=f"{PREFIX}predictions",
            messages=self.json.events // MINUTES,
            group=f"empty-{uuid.uuid4().hex[:8]}",
        )
        self._keep(EMPTY, found, None)

    def measure(self, peer: Peer) -> None:
        """Run a peer's program and compare what it found.

        Raises:
            PeerError: it failed.
        """
        told = {
            **self.json.drawn.names(),
            "way": peer.way,
            "minutes": peer.minutes,
            "bootstrap_servers": self._world.bootstrap_servers,
            "topic": KEYED if peer.keyed else f"{PREFIX}predictions",
            "group": f"{peer.name}-{uuid.uuid4().hex[:8]}",
            "folder": str(self._world.folder),
            "frame": str(self._frame),
            "reference": str(self._reference),
        }
        found = run(peer.name, told)
        if "psi" in found:
            self._keep(peer.title, found, compare_psi(found, self._training, self.json.drawn, self._our_psi))
        else:
            self._keep(peer.title, found, compare(found, self.json.drawn))

    def _keep(self, title: str, found: Told, compared: Comparison | PsiComparison | None) -> None:
        self.rates.setdefault(title, []).append(float(found["events"] / found["cpu_s"]))
        # The first that was wrong is kept, else the last.
        before = self.compared.get(title)
        if compared is not None and not (before is not None and before.wrong):
            self.compared[title] = compared


def measure_peers(world: World, workload: Workload, figures: Figures, *, events: int, runs: int) -> None:
    """Measure the sketcher and every peer in turns, and compare what each of them found with what was drawn.

    Where `runs` is 1, one way of each peer is measured.
    """
    workload = without_slices(workload)
    world.register(DATABASE, workload)
    missing: dict[Peer, str] = {}
    installed: dict[str, str] = {}
    for peer in PEERS:
        if peer.name not in installed:
            try:
                install(peer.name)
                installed[peer.name] = ""
            except PeerError as error:
                installed[peer.name] = str(error)
        if installed[peer.name]:
            missing[peer] = installed[peer.name]
    bench = _Bench(world, workload, events)
    asked = [peer for peer in PEERS if runs > 1 or peer.brief]
    for _ in range(runs):
        bench.sketch(SKETCHER, bench.json)
        bench.empty_loop()
        for peer in asked:
            if peer not in missing:
                try:
                    bench.measure(peer)
                except PeerError as error:
                    missing[peer] = str(error)
        bench.sketch(ARROW, bench.arrow)
    for title in (SKETCHER, ARROW, EMPTY, *(peer.title for peer in asked if peer not in missing)):
        note = spread(bench.rates[title])
        if title in bench.compared:
            note += f"; {bench.compared[title].note()}"
        figures.add(RATES, title, median(bench.rates[title]), "events", note)
    for peer in asked:
        if peer in missing:
            figures.add(RATES, peer.title, 0, "runs", f"**{missing[peer]}**")
            print(f"{peer.title} {missing[peer]}", file=sys.stderr)
    _add_ratios(bench, figures, [EMPTY, *(peer.title for peer in asked if peer not in missing)])


def _add_ratios(bench: _Bench, figures: Figures, peers: list[str]) -> None:
    goals = {(over, under): least for over, under, least in GOALS}
    pairs = [(SKETCHER, peer) for peer in peers] + [(ARROW, peer) for peer in peers if (ARROW, peer) in goals]
    for over, under in pairs:
        ratios = [a / b for a, b in zip(bench.rates[over], bench.rates[under], strict=True)]
        least = goals.get((over, under))
        name, note = f"{over} ÷ {under}", spread(ratios)
        if least is not None:
            name, note = f"**{name}**", f"to be at least {least:g}; {note}"
        figures.add(RATIOS, name, median(ratios), "×", note)


def _training(folder: Path, workload: Workload) -> Columns:
    """The table that the baseline was learned from: numbers as doubles, texts of fixed width."""
    table = pq.read_table(folder / f"train-{len(workload.numbers)}-{len(workload.texts)}.parquet")
    found: dict[str, Any] = {name: np.array(table[name].to_pylist(), dtype=np.str_) for name in workload.texts}
    return found | {name: table[name].to_numpy().astype(np.float64) for name in (*workload.numbers, "score")}
