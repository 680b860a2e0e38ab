"""The sums of pairs as of Kafka offsets, whatever has arrived since.

The pairs in `shadow_pairs` follow late events and corrected labels. Score windows that rows after the offsets changed
are counted again from the raw rows up to the offsets; all others are as they were. So the same offsets give the same
sums, as long as the raw rows of changed windows exist.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from cli.shadow.evaluation import CandidateTest
from sketches.baseline.baseline import load_baseline
from streams.registry.registry import RegisteredBaseline, Registry, build_registry
from streams.scorer.rules import baseline_changes, dimensions_at, make_rules
from streams.scorer.statement_chunks import batched, statement_chunks
from warehouse import queries
from warehouse.client import Client
from warehouse.scoring import pairs, state
from warehouse.shadow import as_of
from warehouse.shadow.as_of import TopicOffsets
from warehouse.shadow.days import PairTotals, read_totals

_AT_ONCE = 500
"""Windows that one statement names."""


@dataclass(frozen=True, slots=True)
class RecountedPairs:
    """The sums of pairs as of offsets."""

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


def pairs_as_of(client: Client, test: CandidateTest, offsets: TopicOffsets, until_s: int) -> RecountedPairs:
    """Return the sums of the pairs of windows before a time, as of offsets.

    Args:
        client: the connection to read from.
        test: the contract and its candidate.
        offsets: the last offsets that count.
        until_s: the end of the last window, Unix seconds.
    """
    registry = read_registry(client, test)
    rules = make_rules(test.contract, registry)
    before = "(SELECT * FROM shadow_pairs FINAL WHERE window_start < toDateTime({until:UInt32}, 'UTC'))"
    totals = read_totals(client, {**test.parameters, "until": until_s}, before)
    changed = as_of.changed_windows(client, rules, test.parameters, offsets, until_s)
    expired: set[int] = set()
    for batch in batched(changed, _AT_ONCE):
        expired |= as_of.expired_windows(client, rules, test.parameters, batch)
    recounted = [window for window in changed if window not in expired]
    for batch in batched(recounted, _AT_ONCE):
        named = "(SELECT * FROM shadow_pairs FINAL WHERE window_start IN {windows:Array(DateTime('UTC'))})"
        totals.add(read_totals(client, {**test.parameters, "windows": batch}, named), sign=-1)
    changes = baseline_changes(registry, test.model)
    for windows in statement_chunks(client, rules, recounted, changes, pairs.rows_by_hour):
        has_repeats = state.has_repeated_ids(client, rules, windows)
        dimensions = dimensions_at(test.contract, registry, windows[0])
        query, parameters = pairs.pairs_query(rules, dimensions, windows, 0, has_repeats=has_repeats)
        totals.add(read_totals(client, {**parameters, **test.parameters}, f"({query})", as_of.up_to(offsets)))
    zone = ZoneInfo(test.contract.timezone)
    days = sorted({f"{datetime.fromtimestamp(window, zone):%Y-%m-%d}" for window in expired})
    return RecountedPairs(replace(totals, newest_end_s=until_s), len(recounted), tuple(days))
