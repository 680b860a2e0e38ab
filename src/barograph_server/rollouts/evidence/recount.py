"""The sums of pairs as of Kafka offsets, whatever has arrived since.

The pairs in `shadow_pairs` follow late events and corrected labels. Score windows that rows after the offsets changed
are counted again from the raw rows up to the offsets; all others are as they were. So the same offsets give the same
sums, as long as the raw rows of changed windows exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from barograph_server.errors import CommandError
from barograph_server.rollouts.candidate import CandidateTest
from barograph_server.sketches.baseline.baseline import load_baseline
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.scorer.rules import baseline_changes, dimensions_at, make_rules
from barograph_server.streams.scorer.statement_chunks import batched, statement_chunks
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts import as_of
from barograph_server.warehouse.rollouts.as_of import TopicOffsets
from barograph_server.warehouse.rollouts.days import PairTotals, read_totals
from barograph_server.warehouse.scoring import pairs, state

_AT_ONCE = 500
"""Windows that one statement names."""
_MOST_READS = 5
"""Reads of the stored pairs, of which one must end before the scorer changes further windows."""


@dataclass(frozen=True, slots=True)
class RecountedPairs:
    totals: PairTotals
    windows: int
    """Score windows that were counted again."""
    expired_days: tuple[str, ...]
    """Days with windows that changed and cannot be counted again, because their raw rows are deleted."""


def read_registry(client: Client, test: CandidateTest) -> Registry:
    """Read the baselines of the model, which define the slices."""
    baselines = [
        RegisteredBaseline(
            load_baseline(row.body.encode(), f"baseline {row.baseline_id}"),
            row.baseline_id,
            int(row.effective_from.timestamp()),
            round(row.accepted_at.timestamp() * 1000),
        )
        for row in queries.baselines(client, test.model)
    ]
    return build_registry([(test.contract, 1)], baselines)


def pairs_as_of(
    client: Client, test: CandidateTest, offsets: TopicOffsets, since_s: int, until_s: int
) -> RecountedPairs:
    """Return the sums of the pairs of windows in a range of time, as of offsets.

    Args:
        offsets: the last offsets that count.
        since_s: the start of the first window, Unix seconds.
        until_s: the end of the last window, Unix seconds.
    """
    registry = read_registry(client, test)
    rules = make_rules(test.contract, registry)
    changed = as_of.changed_windows(client, rules, test.parameters, offsets, since_s, until_s)
    for _ in range(_MOST_READS):
        expired: set[int] = set()
        for batch in batched(changed, _AT_ONCE):
            expired |= as_of.expired_windows(client, rules, test.parameters, batch)
        recounted = [window for window in changed if window not in expired]
        totals = _stored_totals(client, test, recounted, since_s, until_s)
        # The scorer may have counted rows after the offsets since `changed` was read.
        before, changed = changed, as_of.changed_windows(client, rules, test.parameters, offsets, since_s, until_s)
        if set(changed) <= set(before):
            break
    else:
        raise CommandError(
            f"The scorer changed pairs of {test.model} during each of {_MOST_READS} reads: try again once it has "
            "caught up. See `barograph status`."
        )
    changes = baseline_changes(registry, test.model)
    for windows in statement_chunks(client, rules, recounted, changes, pairs.rows_by_hour):
        has_repeats = state.has_repeated_ids(client, rules, windows)
        dimensions = dimensions_at(test.contract, registry, windows[0])
        query, parameters = pairs.pairs_query(rules, dimensions, windows, 0, has_repeats=has_repeats)
        totals.add(read_totals(client, {**parameters, **test.parameters}, f"({query})", as_of.up_to(offsets)))
    zone = ZoneInfo(test.contract.timezone)
    days = sorted({f"{datetime.fromtimestamp(window, zone):%Y-%m-%d}" for window in expired})
    cost_metrics = frozenset(name for name, _, _ in rules.pair_settings.prices)
    totals = replace(totals, newest_end_s=until_s, cost_metrics=cost_metrics)
    return RecountedPairs(totals, len(recounted), tuple(days))


def _stored_totals(
    client: Client, test: CandidateTest, excluded: Sequence[int], since_s: int, until_s: int
) -> PairTotals:
    """Return the sums of the stored pairs of a range of time without some windows (starts, in ascending order)."""
    batches = list(batched(excluded, _AT_ONCE)) or [[]]
    bounds = [since_s, *(batch[0] for batch in batches[1:]), until_s]
    totals = PairTotals()
    for batch, (start_s, end_s) in zip(batches, pairwise(bounds), strict=True):
        parameters = {**test.parameters, "since": start_s, "until": end_s, "excluded": batch}
        totals.add(read_totals(client, parameters, as_of.STORED_PAIRS))
    return totals
