"""Finds the changes that may have caused each verdict that became major, and stores them.

The onset of a move is estimated from panes (`sketches.detection.onset`), and the changes before it are ranked
(`alerts.guard.change_ranking`). The computation reads only what is stored, so it can be repeated at any time.

A thread of the guard looks for such verdicts once a minute. It ranks the changes of those of the last day again each
time, because a change may be reported after the verdict. Onsets are estimated once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event

from barograph.contract import Contract

from barograph_server.alerts.guard.background_task import BackgroundTask, TaskStopped
from barograph_server.alerts.guard.change_ranking import RankedChange, rank_changes
from barograph_server.warehouse.client import Address, Client
from barograph_server.warehouse.governance.changes import read_changes
from barograph_server.warehouse.governance.major_verdicts import (
    MajorVerdict,
    OnsetInterval,
    models_with_major_verdicts,
    read_major_verdicts,
    read_onset,
)
from barograph_server.warehouse.tables import insert_rows

LOOKBACK = timedelta(days=1)
"""How long before the panes of a verdict changes are searched."""
N_STORED = 5
"""Rows of each verdict. Fewer changes leave rows without a kind, so that a repeated computation replaces all."""
NEVER = datetime.fromtimestamp(0, UTC)
CHECK_S = 60.0
"""Pause between checks, in seconds."""
REACH = timedelta(days=1)
"""Age in event time up to which a verdict is explained, and explained again."""


@dataclass(frozen=True, slots=True)
class ExplainedVerdict:
    """A verdict that became major, the onset of the move, and the ranked changes."""

    model: str
    verdict: MajorVerdict
    onset: OnsetInterval | None
    """None: the move is not in the range of the panes, or too gradual to have a start."""
    ranked: tuple[RankedChange, ...]

    @property
    def text(self) -> str:
        """The most likely change and the onset as a sentence."""
        return " ".join(filter(None, (_onset_text(self.onset), _cause_text(self.ranked))))


OnsetCache = dict[tuple[str, MajorVerdict], OnsetInterval | None]
"""Onsets of verdicts by model, which need not be estimated again."""


def explain_verdicts(
    client: Client, contract: Contract, start: datetime, end: datetime, onsets: OnsetCache | None = None
) -> list[ExplainedVerdict]:
    """Find the verdicts of a model that became major in (start, end], and rank the changes before each.

    Args:
        onsets: onsets that are known; those of other verdicts are added.
    """
    verdicts = read_major_verdicts(client, contract.model, start, end)
    if not verdicts:
        return []
    onsets = {} if onsets is None else onsets
    first = min(each.search_start for each in verdicts) - LOOKBACK
    changes = read_changes(client, contract.model, first, max(each.window_end for each in verdicts))
    explained = []
    for verdict in verdicts:
        sources = frozenset(name for name, each in contract.declared_sources.items() if verdict.field in each.fields)
        begin = verdict.search_start - LOOKBACK
        if (contract.model, verdict) not in onsets:
            onsets[contract.model, verdict] = read_onset(client, contract.model, verdict)
        onset = onsets[contract.model, verdict]
        ranked = rank_changes(
            (each for each in changes if begin <= each.changed_at < verdict.window_end), onset, sources, verdict.version
        )
        explained.append(ExplainedVerdict(contract.model, verdict, onset, tuple(ranked)))
    return explained


def store_causes(client: Client, explained: Sequence[ExplainedVerdict], now: datetime) -> None:
    """Write the ranked changes of verdicts; rows of an earlier computation no longer count."""
    insert_rows(client, "suspected_causes", [row for each in explained for row in _rows(each, now)])


def _rows(explained: ExplainedVerdict, now: datetime) -> list[dict[str, object]]:
    verdict, onset = explained.verdict, explained.onset
    common: dict[str, object] = {
        "model": explained.model,
        "field": verdict.field,
        "signal": verdict.signal,
        "version": verdict.version,
        "window": verdict.window,
        "window_end": verdict.window_end,
        "onset": NEVER if onset is None else onset.at,
        "onset_low": NEVER if onset is None else onset.low,
        "onset_high": NEVER if onset is None else onset.high,
        "computed_at": now,
    }
    rows: list[dict[str, object]] = []
    for rank, each in enumerate([*explained.ranked, *[None] * N_STORED][:N_STORED], start=1):
        change = dict.fromkeys(("kind", "subject", "before", "after", "source", "owner"), "")
        evidence: dict[str, object] = dict.fromkeys(("relation", "timing", "likelihood"), "")
        if each is not None:
            change = {name: getattr(each.change, name) for name in change}
            evidence = {name: getattr(each, name) for name in evidence}
        text = ExplainedVerdict(explained.model, verdict, onset, () if each is None else (each,)).text
        changed_at = NEVER if each is None else each.change.changed_at
        rows.append({**common, **change, **evidence, "rank": rank, "changed_at": changed_at, "text": text})
    return rows


def _onset_text(onset: OnsetInterval | None) -> str:
    if onset is None:
        return ""
    until = f"{onset.high:%H:%M}" if onset.high.date() == onset.low.date() else f"{onset.high:%Y-%m-%d %H:%M}"
    return f"It moved between {onset.low:%Y-%m-%d %H:%M} and {until} UTC."


def _cause_text(ranked: Sequence[RankedChange]) -> str:
    if not ranked:
        return "No change is recorded before it."
    first = ranked[0]
    if first.likelihood == "unlikely":
        return "No recorded change explains it."
    change = first.change
    owner = f", owner {change.owner}" if change.owner else ""
    return f"{first.likelihood.capitalize()} cause: {change.title} at {change.changed_at:%Y-%m-%d %H:%M} UTC{owner}."


def cause_history(
    address: Address, connect_to: Callable[[Address], Client], clock: Callable[[], float]
) -> BackgroundTask:
    """Return the task of the leading guard that explains the verdicts of the last day and stores what is new."""
    stored: dict[str, list[ExplainedVerdict]] = {}
    onsets: OnsetCache = {}

    def work(contracts: Mapping[str, Contract], stop: Event) -> None:
        now = datetime.fromtimestamp(clock(), UTC)
        with connect_to(address) as client:
            for model in sorted(models_with_major_verdicts(client, now - REACH) & contracts.keys()):
                if stop.is_set():
                    raise TaskStopped
                explained = explain_verdicts(client, contracts[model], now - REACH, now, onsets)
                if explained != stored.get(model):
                    store_causes(client, explained, now)
                    stored[model] = explained
        for key in [key for key in onsets if key[1].window_end <= now - REACH]:
            del onsets[key]

    return BackgroundTask("ranking of changes", CHECK_S, clock, work)
