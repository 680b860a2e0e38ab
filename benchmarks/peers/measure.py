"""Measure the sketcher and its peers alternately on the same events, and compare their results."""

from statistics import median

from benchmarks.figures import Figures, spread
from benchmarks.peers.environments import PeerError, install
from benchmarks.peers.peer_benchmark import ARROW, DATABASE, EMPTY, FRAMES, MINUTES, SKETCHER, Peer, PeerBenchmark
from benchmarks.stack import Testbed
from benchmarks.workload import make_workload

RATES = "Beside its peers, events per CPU-second"
RATIOS = "The sketcher ÷ its peers"
BYTEWAX, CLICKHOUSE = "Bytewax, batches folded in its windows", "ClickHouse alone, from a file of JSON"
WHYLOGS = "whylogs, `why.log(frame)`"
PEERS = (
    Peer("faust", "Faust, `take`", 1),
    Peer("quixstreams", "Quix Streams, batches beside its state", 2),
    Peer("bytewax", BYTEWAX, 4),
    Peer("pathway", "Pathway, its batches sketched", 4),
    Peer("clickhouse", CLICKHOUSE, MINUTES),
    Peer("whylogs", WHYLOGS, FRAMES),
    Peer("evidently", "Evidently, PSI by `DataDriftPreset`", 1, brief=False),
)
TO_WHYLOGS, TO_WHYLOGS_ARROW = f"{SKETCHER} ÷ {WHYLOGS}", f"{ARROW} ÷ {WHYLOGS}"
TO_BYTEWAX, TO_CLICKHOUSE = f"{SKETCHER} ÷ {BYTEWAX}", f"{SKETCHER} ÷ {CLICKHOUSE}"


def measure_peers(testbed: Testbed, figures: Figures, *, events: int, runs: int) -> None:
    """Measure the sketcher and every peer alternately, and compare each result with the contents of the topic.

    The sketcher is measured before and after each peer; a ratio uses both measurements. If `runs` is 1,
    Evidently is left out, which takes longest to start.
    """
    workload = make_workload(testbed.folder)
    testbed.register(DATABASE, workload)
    requested = [peer for peer in PEERS if runs > 1 or peer.brief]
    missing: dict[str, str] = {}
    """Title → why there is no rate."""
    for name in dict.fromkeys(peer.name for peer in requested):
        try:
            install(name)
        except PeerError as error:
            missing |= {peer.title: str(error) for peer in requested if peer.name == name}
    bench = PeerBenchmark(testbed, workload, events)
    bench.sketch(SKETCHER, bench.json)
    bench.sketch(ARROW, bench.arrow)
    for _ in range(runs):
        bench.empty_loop()
        bench.sketch(SKETCHER, bench.json)
        for peer in (each for each in requested if each.title not in missing):
            try:
                bench.measure(peer)
            except PeerError as error:
                missing[peer.title] = str(error)
                continue
            bench.sketch(SKETCHER, bench.json)
            if peer.title == WHYLOGS:
                bench.sketch(ARROW, bench.arrow)
    measured = [EMPTY, *(peer.title for peer in requested if peer.title not in missing)]
    for title in (SKETCHER, ARROW, *measured):
        note = "; ".join(filter(None, (spread(bench.rates(title)), bench.compared.get(title))))
        figures.add(RATES, title, median(bench.rates(title)), "events", note)
    for title, reason in missing.items():
        figures.add(RATES, title, 0, "runs", f"**{reason}**")
    for over, under in (*((SKETCHER, title) for title in measured), (ARROW, WHYLOGS)):
        if under in measured:
            ratios = bench.ratios(over, under)
            figures.add(RATIOS, f"{over} ÷ {under}", median(ratios), "×", spread(ratios))
