"""The command lines of `barograph reference`."""

from __future__ import annotations

from typing import Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption, help_text

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
    from barograph_server.cli.reference_text import list_json, print_periods
    from barograph_server.provisioning.reference_periods import list_periods
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal

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
    from barograph_server.cli.reference_text import set_lines
    from barograph_server.errors import CommandError
    from barograph_server.provisioning import parse_exact_time
    from barograph_server.provisioning.reference_periods import SetRequest, set_period
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal

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
