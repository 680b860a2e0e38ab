"""Text and JSON output of `barograph shadow`."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from barograph_server.cli.promote_text import criteria_table, decision_json, decision_line, pair_lines, title
from barograph_server.rollouts.candidate import CandidateEvaluation
from barograph_server.rollouts.evidence.bundle import EvidenceBundle
from barograph_server.rollouts.evidence.verify import MAX_LISTED, Verification
from barograph_server.terminal import Terminal, iso_utc, plural, utc_minute
from barograph_server.warehouse.rollouts.noise_floor import noise_floor
from barograph_server.warehouse.rollouts.pair_histograms import LATENCY_RANKS, PairHistograms
from barograph_server.warehouse.rollouts.projected_cost import projected_cost


def status_json(evaluation: CandidateEvaluation, histograms: PairHistograms) -> dict[str, Any]:
    """Make the values of the JSON output of `status`."""
    test, whole = evaluation.test, evaluation.whole
    cost = projected_cost(test.shadow, whole, test.contract.raw_share)
    floor = noise_floor(whole)
    return decision_json(evaluation) | {
        "days": len(whole.days),
        "days_over": int(whole.ended.sum()),
        "days_mature": int((whole.ended & whole.mature).sum()),
        "paired_until": iso_utc(evaluation.newest_end_s),
        "cost_per_day": asdict(cost) if cost is not None else None,
        "disagreement": asdict(floor) if floor is not None else None,
        "rank_correlation": histograms.correlation,
        "latency_ranks": LATENCY_RANKS,
        "latency_by_hour": [asdict(each) for each in histograms.hours],
        "errors": {"primary": histograms.errors_primary, "candidate": histograms.errors_candidate},
    }


def print_status(terminal: Terminal, evaluation: CandidateEvaluation) -> None:
    """Print the state of a candidate on one screen."""
    test, whole, decided = evaluation.test, evaluation.whole, evaluation.decision
    terminal.line(title(test.model, test.shadow, is_canary=test.is_canary), "bold")
    over, mature = int(whole.ended.sum()), int((whole.ended & whole.mature).sum())
    left = decided.days_left
    terminal.pairs(
        {
            "since": f"{whole.days[0]} ({test.contract.timezone})",
            "paired until": f"{utc_minute(evaluation.newest_end_s)} UTC",
            "days": f"{over} over, {mature} of them with mature labels",
            "days left": f"about {math.ceil(left)}" if math.isfinite(left) else "unknown",
            "slices": f"{plural(len(decided.harmed_slices), 'slice')} worse, of {decided.judged_slices} judged",
            **_cost_line(evaluation),
        }
    )
    terminal.lines(pair_lines(whole))
    terminal.table(criteria_table(decided))
    terminal.line(decision_line(test.shadow, decided, is_canary=test.is_canary), "bold")


def _cost_line(evaluation: CandidateEvaluation) -> dict[str, str]:
    """Return the line about costs; nothing if no pair of an ended day has one."""
    test = evaluation.test
    cost = projected_cost(test.shadow, evaluation.whole, test.contract.raw_share)
    if cost is None:
        return {}
    per_1000 = 1000 / cost.requests
    interval = f" ({cost.low:+.4g} to {cost.high:+.4g})" if math.isfinite(cost.low) else ""
    return {
        "cost": f"per 1,000 predictions {cost.candidate * per_1000:.4g} of version {test.shadow.candidate}, "
        f"{cost.primary * per_1000:.4g} of version {test.shadow.of}; {cost.difference:+.4g}{interval} per day at full "
        "traffic"
    }


def print_export(terminal: Terminal, path: Path, bundle: EvidenceBundle) -> None:
    """Print what was exported."""
    size = sum(map(len, bundle.parts.values()))
    terminal.line(f"Exported {plural(len(bundle.parts), 'part')}, {size:,} bytes, to {path}.")
    terminal.line(f"digest {bundle.digest}")


def verification_json(verification: Verification) -> dict[str, Any]:
    """Make the values of the JSON output of `verify`."""
    return {
        "digest": verification.bundle.digest,
        "is_equal": verification.is_equal,
        "differences": verification.differences,
        "obstacles": verification.obstacles,
        "recounted_windows": verification.recounted_windows,
        "exceptions": verification.exceptions,
    }


def print_verification(terminal: Terminal, verification: Verification) -> None:
    """Print the result of a verification."""
    terminal.line(f"digest {verification.bundle.digest}")
    if verification.recounted_windows:
        windows = plural(verification.recounted_windows, "score window")
        terminal.line(f"{windows} changed since the export and were counted again up to the bundle's offsets.")
    for text in verification.differences[:MAX_LISTED]:
        terminal.line(f"differs: {text}", "red")
    if len(verification.differences) > MAX_LISTED:
        terminal.line(f"… and {len(verification.differences) - MAX_LISTED} more, which --json lists.", "red")
    for text in verification.obstacles:
        terminal.line(f"cannot be verified: {text}", "yellow")
    if verification.is_equal:
        exceptions = f", except {' and '.join(verification.exceptions)}" if verification.exceptions else ""
        terminal.line(f"equal to the bit{exceptions}", "green")
