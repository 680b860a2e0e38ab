"""Measure the sketcher and its peers alternately on the same events, and compare their results."""

import sys
from statistics import median

from benchmarks.figures import Figures, spread
from benchmarks.peers.environments import PeerError, install
from benchmarks.peers.peer_benchmark import ARROW, DATABASE, EMPTY, FRAMES, SKETCHER, Peer, PeerBenchmark
from benchmarks.stack import Testbed
from benchmarks.workload import make_workload

RATES = "Beside its peers, events per CPU-second"
RATIOS = "The sketcher ÷ its peers"
WHYLOGS = "whylogs, `why.log(frame)`"
PEERS = (
    Peer("faust", "events", "Faust, event by event", 1),
    Peer("faust", "take", "Faust, `take`", 1, brief=True),
    Peer("quixstreams", "windows", "Quix Streams, its windows", 1, keyed=True),
    Peer("quixstreams", "stateless", "Quix Streams, batches beside its state", 2, brief=True),
    Peer("bytewax", "windows", "Bytewax, events folded in its windows", 1),
    Peer("bytewax", "batches", "Bytewax, batches folded in its windows", 4, brief=True),
    Peer("whylogs", "default", WHYLOGS, FRAMES, brief=True),
    Peer("whylogs", "lean", "whylogs, KLL of k = 200 alone", FRAMES),
    Peer("evidently", "psi", "Evidently, PSI by `DataDriftPreset`", 1),
)
TO_WHYLOGS, TO_WHYLOGS_ARROW = f"{SKETCHER} ÷ {WHYLOGS}", f"{ARROW} ÷ {WHYLOGS}"


def measure_peers(testbed: Testbed, figures: Figures, *, events: int, runs: int) -> None:
    """Measure the sketcher and every peer alternately, and compare each result with the contents of the topic.

    The sketcher is measured before and after each peer; a ratio uses both measurements. If `runs` is 1, one
    implementation of each peer is measured, and none of Evidently, which takes longest to start.
    """
    workload = make_workload(testbed.folder)
    testbed.register(DATABASE, workload)
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
    bench = PeerBenchmark(testbed, workload, events)
    requested = [peer for peer in PEERS if runs > 1 or peer.brief]
    bench.sketch(SKETCHER, bench.json)
    bench.sketch(ARROW, bench.arrow)
    for _ in range(runs):
        bench.empty_loop()
        bench.sketch(SKETCHER, bench.json)
        for peer in requested:
            if peer in missing:
                continue
            try:
                bench.measure(peer)
            except PeerError as error:
                missing[peer] = str(error)
                continue
            bench.sketch(SKETCHER, bench.json)
            if peer.title == WHYLOGS:
                bench.sketch(ARROW, bench.arrow)
    for title in (SKETCHER, ARROW, EMPTY, *(peer.title for peer in requested if peer not in missing)):
        note = spread(bench.rates(title))
        if title in bench.compared:
            note += f"; {bench.compared[title]}"
        figures.add(RATES, title, median(bench.rates(title)), "events", note)
    for peer in requested:
        if peer in missing:
            figures.add(RATES, peer.title, 0, "runs", f"**{missing[peer]}**")
            print(f"{peer.title} {missing[peer]}", file=sys.stderr)
    _add_ratios(bench, figures, [EMPTY, *(peer.title for peer in requested if peer not in missing)])


def _add_ratios(bench: PeerBenchmark, figures: Figures, peers: list[str]) -> None:
    for over, under in (*((SKETCHER, peer) for peer in peers), (ARROW, WHYLOGS)):
        if under in peers:
            ratios = bench.ratios(over, under)
            figures.add(RATIOS, f"{over} ÷ {under}", median(ratios), "×", spread(ratios))
