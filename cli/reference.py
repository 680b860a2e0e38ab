"""The command lines of `barograph reference`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from barograph_server.cli.options import ConfigOption, JsonOption, help_text
from barograph_server.provisioning.reference_periods import CandidatePeriod, SetRequest
from barograph_server.terminal import AlignedTable, Terminal, plural, utc_second


def list_json(periods: Sequence[CandidatePeriod]) -> list[dict[str, Any]]:
    """Convert the list to JSON values, times in ISO 8601."""
    return [
        {
            "version": period.version,
            "from": utc_second(period.from_s),
            "to": utc_second(period.to_s),
            "predictions": period.predictions,
            "labelled": period.labelled,
            "metric": period.metric,
            "value": None if math.isnan(period.value) else period.value,
            "in_force": period.in_force,
            "reason": period.reason,
        }
        for period in periods
    ]


def print_periods(terminal: Terminal, periods: Sequence[CandidatePeriod]) -> None:
    """Print the list as a table, with the references in force in bold."""
    metric = periods[0].metric if periods else "accuracy"
    table = AlignedTable(
        *("version", "from", "to", "predictions", "labelled", metric, "in force", "reason"),
        numbers=("predictions", "labelled", metric),
    )
    for period in periods:
        table.row(
            period.version,
            utc_second(period.from_s),
            utc_second(period.to_s),
            f"{period.predictions:,}",
            f"{period.labelled:,}",
            "" if math.isnan(period.value) else f"{period.value:.3g}",
            "yes" if period.in_force else "",
            period.reason,
            style="bold" if period.in_force else "",
        )
    terminal.table(table)


def set_lines(request: SetRequest, chosen: CandidatePeriod | None) -> Iterator[str]:
    """Yield what was stored, or with `dry_run` would be."""
    verb = "would choose" if request.dry_run else "chose"
    what = f"the reference of {request.model} version {request.version}"
    if chosen is None:
        yield f"~ {what}: {'would be' if request.dry_run else 'is'} the first good week again"
        return
    yield (
        f"~ {verb} {what}: {utc_second(chosen.from_s)} to {utc_second(chosen.to_s)}, "
        f"{plural(chosen.predictions, 'prediction')}, {plural(chosen.labelled, 'label')}, "
        f"{chosen.metric} {chosen.value:.3g}"
    )
    if chosen.reason:
        yield f"! the period {chosen.reason}"


reference_app = typer.Typer(add_completion=False, no_args_is_help=True)

ModelOption = Annotated[str, typer.Option("--model", help="Name of the model.", show_default=False)]


@reference_app.callback()
def reference_group() -> None:
    """List the periods that performance can be compared with, and choose one."""


def list_command(
    model: ModelOption,
    version: Annotated[
        str | None, typer.Option(help="Only this version. Default: all versions.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the weeks of each version with their labels, which period is the reference, and why.

    Examples:
        barograph reference list --model flight-delay
        barograph reference list --model flight-delay --version 3 --json
    """
    from barograph_server.provisioning.reference_periods import list_periods
    from barograph_server.settings import load_settings

    settings = load_settings(config, needs=("clickhouse",))
    periods = list_periods(settings.warehouse, model, version)
    if as_json:
        Terminal().json(list_json(periods))
    else:
        print_periods(Terminal(), periods)


def set_command(
    model: ModelOption,
    version: Annotated[str, typer.Option(help="Version of the model.", show_default=False)],
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why performance is compared with this period.", show_default=False)
    ],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Start of the period (event time).", show_default=False)
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="TIME", help="End of the period (event time), exclusive.", show_default=False)
    ] = None,
    automatic: Annotated[
        bool, typer.Option("--automatic", help="Let the scorer choose again: the first good week.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the period without storing it.")] = False,
    config: ConfigOption = None,
) -> None:
    """Choose the period that the performance of a version is compared with.

    The choice is stored in ClickHouse and stays in force until the next one. The scorer counts the period in its next
    pass and judges all windows of the version again.

    Examples:
        barograph reference set --model churn --version 4 --from 2026-03-02T00:00Z --to 2026-03-30T00:00Z
            --reason "the launch week is not typical"
        barograph reference set --model churn --version 4 --automatic --reason "labels are corrected"
    """
    from barograph_server.errors import CommandError
    from barograph_server.provisioning.reference_periods import set_period
    from barograph_server.settings import load_settings
    from barograph_server.times import parse_exact_time

    if not reason.strip():
        raise CommandError("--reason is empty: state the reason for later readers of the reference.")
    if automatic == (from_ is not None or to is not None) or (from_ is None) != (to is None):
        raise CommandError("Give both --from and --to, or --automatic.")
    period = None
    if from_ is not None and to is not None:
        period = parse_exact_time("--from", from_), parse_exact_time("--to", to)
    request = SetRequest(model=model, version=version, period=period, reason=" ".join(reason.split()), dry_run=dry_run)
    settings = load_settings(config, needs=("clickhouse",))
    chosen = set_period(settings.warehouse, request)
    Terminal().changes(set_lines(request, chosen))


for _name, _function in (("list", list_command), ("set", set_command)):
    reference_app.command(_name, help=help_text(_function))(_function)
