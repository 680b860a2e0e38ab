"""The command lines of `barograph shadow`."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from barograph_server.cli.options import CandidateOption, ConfigOption, JsonOption, ModelOption, help_text
from barograph_server.rollouts.candidate import CandidateEvaluation
from barograph_server.rollouts.decision_text import criteria_table, decision_line, pair_lines, title
from barograph_server.rollouts.evidence.bundle import EvidenceBundle
from barograph_server.rollouts.projected_cost import projected_cost
from barograph_server.sketches.rollout.noise_floor import noise_floor
from barograph_server.terminal import Terminal, iso_utc, plural, utc_minute
from barograph_server.warehouse.rollouts.pair_histograms import LATENCY_RANKS, PairHistograms


def status_json(evaluation: CandidateEvaluation, histograms: PairHistograms) -> dict[str, Any]:
    """Make the values of the JSON output of `status`."""
    test, whole = evaluation.test, evaluation.whole
    cost = projected_cost(test.shadow, whole, test.contract.raw_share)
    floor = noise_floor(whole)
    return evaluation.record() | {
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


shadow_app = typer.Typer(add_completion=False, no_args_is_help=True)


@shadow_app.callback()
def shadow_group() -> None:
    """Show the state of a candidate, write a report, and export or verify evidence for its promotion."""


def status_command(
    model: ModelOption, candidate: CandidateOption = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show the state of a candidate: its pairs, days, criteria, and about how many days are left.

    Examples:
        barograph shadow status --model flight-delay
        barograph shadow status --model flight-delay --json | jq .days_left
    """
    from barograph_server.rollouts.decide import decide

    decision = decide(model, candidate=candidate, with_histograms=as_json, settings=config)
    if decision.histograms is not None:
        Terminal().json(status_json(decision.evaluation, decision.histograms))
    else:
        print_status(Terminal(), decision.evaluation)


def report_command(
    model: ModelOption,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page. Default: MODEL.VERSION.shadow.html.")
    ] = None,
    candidate: CandidateOption = None,
    config: ConfigOption = None,
) -> None:
    """Write a report about a candidate as one HTML file without scripts and references to other files.

    An existing file is replaced.

    Examples:
        barograph shadow report --model flight-delay --out shadow.html
    """
    from barograph_server.errors import CommandError
    from barograph_server.rollouts.decide import decide

    decision = decide(model, candidate=candidate, with_histograms=True, settings=config)
    versions = f"{model}.{decision.evaluation.test.shadow.candidate}".replace("/", "-")
    path = Path(f"{versions}.shadow.html") if out is None else out
    try:
        path.write_text(decision.to_html(), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}): name a path that you may write to.") from None
    Terminal().line(f"Wrote {path}.")


def export_command(
    model: ModelOption,
    out: Annotated[
        Path, typer.Option(metavar="PATH", help="The bundle: an archive NAME.zip, or a folder.", show_default=False)
    ],
    candidate: CandidateOption = None,
    config: ConfigOption = None,
) -> None:
    """Export the evidence for a decision: daily sums, decision, contract, report, and where they come from.

    The bundle covers the days that are over, in the rows that the scorer has processed. The same rows give the same
    bytes. The digest identifies the bundle.

    Examples:
        barograph shadow export --model flight-delay --out evidence.zip
    """
    from barograph_server.rollouts.evidence.bundle import write_bundle
    from barograph_server.rollouts.evidence.parts import collect_evidence
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        parts = collect_evidence(client, model, candidate)
    print_export(Terminal(), out, write_bundle(out, parts))


def verify_command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The archive or folder.", show_default=False)],
    digest: Annotated[
        str | None, typer.Option(metavar="HEX", help="The digest that `export` printed.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check the digests of a bundle, and compute its content again from ClickHouse.

    Rows that arrived after the export do not count. Exits with 0 if everything is equal to the bit, with 1 if
    something differs or the bundle was changed, and with 2 if it cannot be computed again.

    Examples:
        barograph shadow verify evidence.zip
        barograph shadow verify evidence.zip --digest 3f2a…
    """
    from barograph_server.errors import EXIT_DIFFERS, EXIT_OK, EXIT_UNVERIFIABLE
    from barograph_server.rollouts.evidence.verify import print_verification, verify_bundle
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        verification = verify_bundle(client, bundle, digest)
    if as_json:
        Terminal().json(verification.record())
    else:
        print_verification(Terminal(), verification)
    if verification.differences:
        raise typer.Exit(EXIT_DIFFERS)
    raise typer.Exit(EXIT_UNVERIFIABLE if verification.obstacles else EXIT_OK)


for _name, _function in (
    *(("status", status_command), ("report", report_command)),
    *(("export", export_command), ("verify", verify_command)),
):
    shadow_app.command(_name, help=help_text(_function))(_function)
