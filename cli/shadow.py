"""The command lines of `barograph shadow`."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from barograph_server.cli.options import Arg, Candidate, CommandGroup, Connection, Model, Opt, Output
from barograph_server.errors import EXIT_DIFFERS, EXIT_OK, EXIT_UNVERIFIABLE, CommandError
from barograph_server.rollouts.candidate import CandidateEvaluation
from barograph_server.rollouts.decision_text import criteria_table, decision_line, pair_lines, title
from barograph_server.rollouts.evidence.bundle import EvidenceBundle, write_bundle
from barograph_server.rollouts.projected_cost import projected_cost
from barograph_server.sketches.rollout.criteria import noise_floor
from barograph_server.terminal import Terminal, iso_utc, picked, plural, utc_minute
from barograph_server.warehouse.rollouts.pair_histograms import LATENCY_RANKS, PairHistograms


def status_values(evaluation: CandidateEvaluation, histograms: PairHistograms) -> dict[str, Any]:
    """Return what programs read of the state of a candidate."""
    test, whole = evaluation.test, evaluation.whole
    return evaluation.record() | {
        "days": len(whole.days),
        "days_over": int(whole.ended.sum()),
        "days_mature": int((whole.ended & whole.mature).sum()),
        "paired_until": iso_utc(evaluation.newest_end_s),
        "cost_per_day": projected_cost(test.shadow, whole, test.contract.raw_share),
        "disagreement": noise_floor(whole),
        "latency_ranks": LATENCY_RANKS,
        **picked(histograms, "correlation", "hours", "errors_primary", "errors_candidate"),
    }


def print_status(terminal: Terminal, evaluation: CandidateEvaluation) -> None:
    test, whole, decided = evaluation.test, evaluation.whole, evaluation.decision
    terminal.line(title(test.model, test.shadow, after_promotion=test.after_promotion), "bold")
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
    terminal.line(decision_line(test.shadow, decided, after_promotion=test.after_promotion), "bold")


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
    size = sum(map(len, bundle.parts.values()))
    terminal.line(f"Exported {plural(len(bundle.parts), 'part')}, {size:,} bytes, to {path}.")
    terminal.line(f"digest {bundle.digest}")


shadow_app = CommandGroup()


@shadow_app.add("status")
def status_command(output: Output, connection: Connection, model: Model, candidate: Candidate = None) -> None:
    """Show the state of a candidate: its pairs, days, criteria, and about how many days are left.

    Examples:
        barograph shadow status --model flight-delay
        barograph shadow status --model flight-delay --format json | jq .days_left
    """
    from barograph_server.rollouts.decide import decide

    decision = decide(model, candidate=candidate, with_histograms=output.is_json, settings=connection.config)
    if decision.histograms is not None:
        Terminal().json(status_values(decision.evaluation, decision.histograms))
    else:
        print_status(Terminal(), decision.evaluation)


@shadow_app.add("report")
def report_command(
    connection: Connection,
    model: Model,
    out: Annotated[Path | None, Opt("The page. Default: MODEL.VERSION.shadow.html.", "FILE")] = None,
    candidate: Candidate = None,
) -> None:
    """Write a report about a candidate as one HTML file without scripts and references to other files.

    An existing file is replaced.

    Examples:
        barograph shadow report --model flight-delay --out shadow.html
    """
    from barograph_server.rollouts.decide import decide

    decision = decide(model, candidate=candidate, with_histograms=True, settings=connection.config)
    versions = f"{model}.{decision.evaluation.test.shadow.candidate}".replace("/", "-")
    path = Path(f"{versions}.shadow.html") if out is None else out
    try:
        path.write_text(decision.to_html(), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}): name a path that you may write to.") from None
    Terminal().line(f"Wrote {path}.")


@shadow_app.add("export")
def export_command(
    connection: Connection,
    model: Model,
    out: Annotated[Path, Opt("The bundle: an archive NAME.zip, or a folder.", "PATH")],
    candidate: Candidate = None,
) -> None:
    """Export the evidence for a decision: daily sums, decision, contract, report, and where they come from.

    The bundle covers the days that are over, in the rows that the scorer has processed. The same rows give the same
    bytes. The digest identifies the bundle.

    Examples:
        barograph shadow export --model flight-delay --out evidence.zip
    """
    from barograph_server.rollouts.evidence.parts import collect_evidence

    with connection.warehouse() as client:
        parts = collect_evidence(client, model, candidate)
    print_export(Terminal(), out, write_bundle(out, parts))


@shadow_app.add("verify")
def verify_command(
    output: Output,
    connection: Connection,
    bundle: Annotated[Path, Arg("The archive or folder.", "BUNDLE")],
    digest: Annotated[str | None, Opt("The digest that `export` printed.", "HEX")] = None,
) -> None:
    """Check the digests of a bundle, and compute its content again from ClickHouse.

    Rows that arrived after the export do not count. Exits with 0 if everything is equal to the bit, with 1 if something
    differs (last bits do on other processors) or the bundle was changed, and with 2 if it cannot be computed again.

    Examples:
        barograph shadow verify evidence.zip
        barograph shadow verify evidence.zip --digest 3f2a…
    """
    from barograph_server.rollouts.evidence.verify import print_verification, verify_bundle

    with connection.warehouse() as client:
        verification = verify_bundle(client, bundle, digest)
    output.show(verification, print_verification, values=lambda verification: verification.record())
    if verification.differences:
        raise typer.Exit(EXIT_DIFFERS)
    raise typer.Exit(EXIT_UNVERIFIABLE if verification.obstacles else EXIT_OK)
