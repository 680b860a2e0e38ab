"""Cost of pairing a candidate with the primary over two weeks: all pairs once, then after corrections of labels.

The rows are those of the section `scoring`, with an answer of the candidate to each prediction. The time of a pass
contains the join of labels and the performance of the primary; the time of the pairing alone is measured again on the
windows that the pass paired.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
from barograph.contract import ShadowTest

from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scorer.rules import dimensions_at, make_rules
from barograph_server.streams.scorer.statement_chunks import statement_chunks
from barograph_server.streams.scorer.worker import QUERY_TIMEOUT_S, Scorer
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.scoring import pairs, state
from benchmarks import scoring
from benchmarks.figures import Figures, spread
from benchmarks.scoring import DAY_S, DAYS, HOUR_S, QUIET_PASSES, Traffic, timed_pass
from benchmarks.stack import Testbed

PAIRING = "Pairs of a candidate, over two weeks"
DATABASE = "pairing"
CONTRACT = msgspec.structs.replace(
    scoring.CONTRACT, arms=None, shadow=ShadowTest(candidate="2", of="1", margins={"accuracy": 0.01})
)
REGISTRY = build_registry([(CONTRACT, 1)], [])
CORRECTED_HOURS = (4, 40)


def measure_pairing(testbed: Testbed, figures: Figures, *, requests: int) -> None:
    """Fill a database and time the scorer's passes and its pairing.

    Args:
        testbed: The testbed.
        figures: Where to add the figures.
        requests: How many requests both versions answer.
    """
    address = testbed.address(DATABASE)
    with connect(address, timeout_s=QUERY_TIMEOUT_S, create=True) as client:
        migrate.apply(client)
        traffic = Traffic(requests, (int(time.time()) // DAY_S - DAYS - 1) * DAY_S)
        labels = scoring.fill(client, traffic)
        for first in range(0, requests, scoring.AT_ONCE):
            end = min(first + scoring.AT_ONCE, requests)
            scoring.insert(client, "shadow_predictions", traffic.candidates(), first, end)
        settings = ProcessorSettings(instance="scorer-0", bootstrap_servers="", warehouse=address)
        now_s = float(traffic.end_s + 2 * HOUR_S)
        scorer = Scorer(settings, lambda: REGISTRY, Report("scorer", "scorer-0"), clock=lambda: now_s, grace_s=0.0)
        whole = f"{requests:,} requests, {labels:,} labels, {DAYS * 24} hours, 6 slices"
        first_s = timed_pass(scorer)[0]
        figures.add(PAIRING, "the first pass", first_s, "s", whole)
        hours = [traffic.start_s + hour * HOUR_S for hour in range(DAYS * 24)]
        all_s = _pairing_s(client, hours)
        figures.add(PAIRING, "of it the pairing", all_s, "s", f"{_counted(client)}; timed again")
        figures.add(PAIRING, "of it the pairing", requests / all_s, "pairs/s")
        n_corrections = 0
        for n_hours in CORRECTED_HOURS:
            target = 0.01 * labels * n_hours / CORRECTED_HOURS[0]
            corrected = scoring.correct_labels(client, traffic, n_hours, labels + n_corrections, target)
            n_corrections += corrected
            took_s = timed_pass(scorer)[0]
            note = f"{corrected:,} labels ({corrected / labels:.3%})"
            figures.add(PAIRING, f"a pass after corrections in {n_hours} hours", took_s, "s", note)
            changed = scoring.corrected_hours(traffic, n_hours)
            near = sorted({hour + step * HOUR_S for hour in changed for step in (-1, 0, 1)})
            pairing_s = _pairing_s(client, near)
            figures.add(
                PAIRING, f"of it the pairing, {n_hours} hours", pairing_s, "s", f"{len(near)} hours; timed again"
            )
            figures.add(PAIRING, f"pairing of all hours ÷ of {n_hours} hours", all_s / pairing_s, "×")
        quiet = [timed_pass(scorer)[0] * 1000 for _ in range(QUIET_PASSES)]
        figures.add(PAIRING, "a pass with nothing new", sorted(quiet)[QUIET_PASSES // 2], "ms", spread(quiet))


def _pairing_s(client: Client, windows: Sequence[int]) -> float:
    """Time to pair windows (starts, Unix seconds) again, in the statements of the scorer (s)."""
    rules = make_rules(CONTRACT, REGISTRY)
    began = time.perf_counter()
    for part in statement_chunks(client, rules, windows, [], pairs.rows_by_hour):
        has_repeats = state.has_repeated_ids(client, rules, part)
        dimensions = dimensions_at(CONTRACT, REGISTRY, part[0])
        pairs.pair_windows(client, rules, dimensions, part, 0, has_repeats=has_repeats)
    return time.perf_counter() - began


def _counted(client: Client) -> str:
    """Describe the rows of `shadow_pairs`."""
    [(n_pairs, n_labelled, n_missing)] = client.rows(
        "SELECT sum(pairs), sum(labelled), sum(requests - pairs) FROM shadow_pairs FINAL WHERE slice = 'all'"
    )
    return f"{n_pairs:,} pairs, {n_labelled:,} with a label, {n_missing:,} missing pairs"
