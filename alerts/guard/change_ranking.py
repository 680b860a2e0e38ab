"""Which recorded change explains a major verdict: the changes before it, ranked.

A change is ranked by three things: whether it came before the field moved, whether it concerns the source that feeds
the field, and how close it is to the onset. The ranking is evidence, not proof: it compares times and declarations.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from barograph_server.warehouse.governance.changes import Change
from barograph_server.warehouse.governance.major_verdicts import OnsetInterval

Relation = Literal["own source", "model", "unknown", "other source"]
Timing = Literal["at onset", "before", "after", "unknown"]
Likelihood = Literal["likely", "possible", "unlikely"]

RELATIONS: tuple[Relation, ...] = ("own source", "model", "unknown", "other source")
"""What a change concerns: a declared source of the field, the model, something that no contract relates to the field,
or a source that feeds other fields only."""
LIKELIHOODS: tuple[Likelihood, ...] = ("likely", "possible", "unlikely")
VERSION = "version"
"""Kind of the change: a version has its first traffic."""
LEAD = timedelta(minutes=30)
"""How long before the interval of the onset a change may be recorded and still counts as at the onset: a deployment
takes time until every instance runs it."""


@dataclass(frozen=True, slots=True)
class RankedChange:
    change: Change
    relation: Relation
    timing: Timing
    likelihood: Likelihood


def rank_changes(
    changes: Iterable[Change], onset: OnsetInterval | None, sources: frozenset[str], version: str = ""
) -> list[RankedChange]:
    """Rank changes as causes of one move of a field, the most likely first.

    Args:
        changes: the changes of the model, of its sources and of all models, in any order.
        onset: when the field moved; None: unknown, so that no change is likely.
        sources: the declared sources that feed the field; empty if none is declared.
        version: the version whose field moved; the first traffic of another version is of unknown relation.
    """
    ranked = [_rank(change, onset, sources, version) for change in changes]

    def order(each: RankedChange) -> tuple[int, int, float]:
        time = each.change.changed_at
        # Without an onset, the latest change comes first.
        distance_s = -time.timestamp() if onset is None else abs((time - onset.at).total_seconds())
        return LIKELIHOODS.index(each.likelihood), RELATIONS.index(each.relation), distance_s

    return sorted(ranked, key=order)


def _rank(change: Change, onset: OnsetInterval | None, sources: frozenset[str], version: str) -> RankedChange:
    relation: Relation = "model" if change.model else "unknown"
    if change.source:
        relation = "own source" if change.source in sources else "other source" if sources else "unknown"
    elif change.kind == VERSION and change.after != version:
        relation = "unknown"
    timing: Timing = "at onset"
    if onset is None:
        timing = "unknown"
    elif change.changed_at > onset.high:
        timing = "after"
    elif change.changed_at < onset.low - LEAD:
        timing = "before"
    return RankedChange(change, relation, timing, _likelihood(relation, timing))


def _likelihood(relation: Relation, timing: Timing) -> Likelihood:
    if timing == "after" or relation == "other source":
        return "unlikely"
    if timing == "at onset" and relation in ("own source", "model"):
        return "likely"
    if relation == "own source":
        return "possible"
    return "possible" if timing == "at onset" or (timing, relation) == ("unknown", "model") else "unlikely"
