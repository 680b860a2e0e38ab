"""Runs of judges on their anchors, in the table `anchor_runs`, and what they say about drift."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np

from barograph_server.sketches.judges.anchors import LEAST_BANK, anchor_drift
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows

BANK, RUN = "bank", "run"
_RUNS = """
SELECT run_id, at, kind, anchors, verdicts, wrong
FROM anchor_runs FINAL
WHERE model = {model:String} AND evaluator = {evaluator:String} AND evaluator_version = {evaluator_version:String}
    AND anchors_hash = {anchors_hash:String}
ORDER BY at, run_id
"""


@dataclass(frozen=True, slots=True)
class AnchorSeries:
    """A judge and its anchors. Another version of either is another series, and nothing joins the two."""

    model: str
    """The answering model."""
    evaluator: str
    evaluator_version: str
    anchors_hash: str

    def run_id(self, period_s: int) -> str:
        """Return the identifier of the scheduled run of a period, from the period's start in Unix seconds."""
        parts = self.model, self.evaluator, self.evaluator_version, self.anchors_hash, str(period_s)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class AnchorRun:
    run_id: str
    at: datetime
    kind: str
    """`BANK` or `RUN`."""
    anchors: int
    verdicts: Mapping[str, str]
    """Anchor → class; anchors without a verdict are missing."""
    wrong: frozenset[str]
    """Anchors whose verdict is not that of people."""

    @property
    def right(self) -> int:
        """Verdicts that are those of people."""
        return len(self.verdicts) - len(self.wrong)

    @property
    def no_result(self) -> int:
        """Anchors without a verdict. Above 0, the run is left out of the evidence."""
        return self.anchors - len(self.verdicts)


class DriftOutcome(StrEnum):
    """What is known about the drift of a judge."""

    DRIFTED = "drifted"
    NO_DRIFT = "no drift"
    NO_BANK = "no bank"
    NO_RUN = "no run"
    USED_UP = "bank used up"
    """There is no drift so far, and later runs cannot be compared."""


@dataclass(frozen=True, slots=True)
class JudgeDrift:
    """The evidence of a series."""

    bank: int
    """Complete runs of the bank."""
    runs: tuple[AnchorRun, ...] = ()
    """Later runs that were compared, in their order."""
    log_e: tuple[float, ...] = ()
    """Logarithm of the e-value after each of them; NaN for a deterministic judge."""
    changed: tuple[tuple[str, ...], ...] = ()
    """For a deterministic judge, the anchors whose verdict changed in each of them."""
    is_deterministic: bool = False
    """Whether all runs of the bank gave the same verdicts."""
    drifted_at: datetime | None = None
    """Time of the run at which drift was found."""
    incomplete: int = 0
    """Runs that are left out, because an anchor has no verdict."""
    unpaired: int = 0
    """Complete later runs that are left out, because the bank was used up."""
    _used: int = field(default=0, repr=False)

    @property
    def runs_left(self) -> int:
        """Runs of the bank that are not used yet. A deterministic judge uses none."""
        return self.bank - self._used

    @property
    def outcome(self) -> DriftOutcome:
        """What is known."""
        if self.drifted_at is not None:
            return DriftOutcome.DRIFTED
        if self.bank < LEAST_BANK:
            return DriftOutcome.NO_BANK
        if not self.runs:
            return DriftOutcome.NO_RUN
        return DriftOutcome.NO_DRIFT if self.runs_left else DriftOutcome.USED_UP


def judge_drift(runs: Sequence[AnchorRun]) -> JudgeDrift:
    """Compare the later runs of a series with those of its bank, each of which is used once.

    Args:
        runs: all runs of the series in their order. Those without a verdict of each anchor are left out.
    """
    complete = [run for run in runs if not run.no_result]
    bank, later = ([run for run in complete if run.kind == kind] for kind in (BANK, RUN))
    incomplete = len(runs) - len(complete)
    if len(bank) < LEAST_BANK:
        return JudgeDrift(len(bank), incomplete=incomplete, unpaired=len(later))
    frozen = bank[0].verdicts
    if all(run.verdicts == frozen for run in bank):
        changed = tuple(tuple(each for each in sorted(frozen) if run.verdicts[each] != frozen[each]) for run in later)
        drifted_at = next((run.at for run, each in zip(later, changed, strict=True) if each), None)
        log_e = (math.nan,) * len(later)
        return JudgeDrift(len(bank), tuple(later), log_e, changed, True, drifted_at, incomplete)
    paired = list(zip(bank, later, strict=False))
    lost = [len(run.wrong - frozen_run.wrong) for frozen_run, run in paired]
    gained = [len(frozen_run.wrong - run.wrong) for frozen_run, run in paired]
    drift = anchor_drift(lost, gained)
    first = int(np.argmax(drift.has_drifted)) if drift.has_drifted.any() else None
    return JudgeDrift(
        len(bank),
        tuple(run for _, run in paired),
        tuple(map(float, drift.log_e)),
        drifted_at=None if first is None else paired[first][1].at,
        incomplete=incomplete,
        unpaired=len(later) - len(paired),
        _used=len(paired),
    )


def read_anchor_runs(client: Client, series: AnchorSeries) -> list[AnchorRun]:
    return [
        AnchorRun(run_id, at, kind, anchors, verdicts, frozenset(wrong))
        for run_id, at, kind, anchors, verdicts, wrong in client.rows(_RUNS, asdict(series))
    ]


def read_anchor_series(client: Client, model: str, evaluator: str) -> list[AnchorSeries]:
    """Read the series of a judge, the one with the newest run first."""
    rows = client.rows(
        "SELECT evaluator_version, anchors_hash FROM anchor_runs WHERE model = {model:String} "
        "AND evaluator = {evaluator:String} GROUP BY evaluator_version, anchors_hash ORDER BY max(at) DESC",
        {"model": model, "evaluator": evaluator},
    )
    return [AnchorSeries(model, evaluator, *row) for row in rows]


def store_anchor_run(client: Client, series: AnchorSeries, run: AnchorRun) -> JudgeDrift:
    """Store a run with the evidence after it. Storing the same run again replaces it."""
    drift = judge_drift([*(each for each in read_anchor_runs(client, series) if each.run_id != run.run_id), run])
    row = {
        **asdict(series),
        **{name: getattr(run, name) for name in ("run_id", "at", "kind", "anchors", "right", "no_result")},
        "verdicts": dict(run.verdicts),
        "wrong": sorted(run.wrong),
        "log_e": drift.log_e[-1] if drift.log_e else math.nan,
        "has_drifted": drift.drifted_at is not None,
        "runs_left": drift.runs_left,
    }
    insert_rows(client, "anchor_runs", [row])
    return drift
