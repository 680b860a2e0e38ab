"""The command lines of `barograph baseline`."""

from __future__ import annotations

from typing import Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption, help_text

baseline_app = typer.Typer(add_completion=False, no_args_is_help=True)


@baseline_app.callback()
def baseline_group() -> None:
    """Show baselines, and create new ones from production data."""


def list_command(
    model: Annotated[str | None, typer.Option(help="Only this model. Default: all models.", show_default=False)] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the baselines of each version: id, effective time, source and reason.

    Examples:
        barograph baseline list --model flight-delay
        barograph baseline list --json | jq '.[].id'
    """
    from barograph_server.cli.baseline_text import list_json, print_baselines
    from barograph_server.profiling.baseline.lookup import list_baselines
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
    from barograph_server.warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        result = list_baselines(client, model)
    if as_json:
        Terminal().json(list_json(result))
    else:
        print_baselines(Terminal(), result)


def show_command(
    baseline_id: Annotated[
        str, typer.Argument(metavar="ID", help="Baseline id, or the start of it.", show_default=False)
    ],
    field: Annotated[str | None, typer.Option(help="Only this field.", show_default=False)] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the contents of a baseline: fields, φ, slices, and the rows of each bin.

    The JSON output is a file for `barograph apply --baseline`.

    Examples:
        barograph baseline show 9f2c --field temp
        barograph baseline show 9f2c --json > flight-delay.3.baseline.json
    """
    from barograph_server.cli.baseline_text import print_baseline
    from barograph_server.errors import CommandError
    from barograph_server.profiling.baseline.lookup import find_baseline
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
    from barograph_server.warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        result = find_baseline(client, baseline_id)
    assert result.baseline is not None
    names = [each.name for each in result.baseline.fields]
    if field is not None and field not in names:
        raise CommandError(f"Baseline {result.row.baseline_id} has no field {field}; its fields: {', '.join(names)}.")
    if as_json:
        print(result.row.body, end="")
    else:
        print_baseline(Terminal(), result, result.baseline, field)


def accept_command(
    model: Annotated[str, typer.Option(help="Name of the model.", show_default=False)],
    version: Annotated[str, typer.Option(help="Version of the model.", show_default=False)],
    from_: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Start of the first pane (event time).", show_default=False)
    ],
    to: Annotated[str, typer.Option(metavar="TIME", help="End of the last pane (event time).", show_default=False)],
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why this production data is the new normal.", show_default=False)
    ],
    effective: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Event time at which the baseline takes effect: the start of a pane at least a minute ahead. Default: "
            "the first such pane.",
            show_default=False,
        ),
    ] = None,
    incomplete: Annotated[bool, typer.Option("--incomplete", help="Accept a range with lost predictions.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the result without writing it.")] = False,
    config: ConfigOption = None,
) -> None:
    """Accept production data as the new normal: create a baseline from sealed panes.

    Counts are exact, on the bins and slices of the baseline that the panes were counted on. A numeric field with over a
    fifth of the rows in one bin gets new bins, from sketches. φ comes from the windows in the range: use a range that
    is known to be good and contains 20 windows of each length. Past verdicts do not change.

    Examples:
        barograph baseline accept --model churn --version 4 --from 2026-03-02T00:00Z --to 2026-03-30T00:00Z
            --reason "after the new tariff" --dry-run
    """
    from barograph_server.cli.baseline_text import accepted_lines, print_accepted_baseline
    from barograph_server.errors import CommandError
    from barograph_server.provisioning import parse_effective, parse_exact_time
    from barograph_server.provisioning.accepted_baselines import AcceptRequest, accept
    from barograph_server.settings import load_settings
    from barograph_server.terminal import SafeText, Terminal

    if not reason.strip():
        raise CommandError("--reason is empty: state the reason for later readers of the baseline.")
    request = AcceptRequest(
        model=model,
        version=version,
        from_s=parse_exact_time("--from", from_),
        to_s=parse_exact_time("--to", to),
        reason=reason,
        effective_s=parse_effective(effective),
        incomplete=incomplete,
        dry_run=dry_run,
    )
    settings = load_settings(config, needs=("clickhouse",))
    terminal, errors = Terminal(), Terminal(stderr=True)
    with errors.status("reading") as status:
        accepted = accept(settings.warehouse, request, on_step=lambda step: status.update(SafeText(step)))
    print_accepted_baseline(terminal, accepted)
    terminal.changes(accepted_lines(accepted, dry_run=dry_run))


for _name, _function in (("list", list_command), ("show", show_command), ("accept", accept_command)):
    baseline_app.command(_name, help=help_text(_function))(_function)
