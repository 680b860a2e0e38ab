"""The command lines of `barograph plan` and `barograph apply`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_CHANGES, ApplyError
from cli.options import ConfigOption
from cli.terminal import Terminal

if TYPE_CHECKING:
    from barograph.contract import Contract

    from sketches.baseline.baseline import Baseline

_CONTRACTS = typer.Argument(
    metavar="CONTRACT", help="Contract files; without any, tables and topics alone.", show_default=False
)
_BASELINE = typer.Option(
    "--baseline",
    metavar="FILE",
    help="A baseline; repeatable. By default every MODEL.VERSION.baseline.json next to the contracts.",
    show_default=False,
)
_EFFECTIVE = typer.Option(
    "--effective",
    metavar="TIME",
    help="Event time from which another baseline of a version holds, such as 2026-03-01T00:00:00Z: the start of a "
    "pane. By default the first pane that begins in a minute or later. A version's first baseline holds for all times.",
    show_default=False,
)
_OVERWRITE = typer.Option(
    "--overwrite-grafana",
    help="Put ours in the place of what was edited by hand in Grafana, or has our name there and is not ours.",
)


def plan_command(
    contracts: Annotated[list[Path] | None, _CONTRACTS] = None,
    baseline: Annotated[list[Path] | None, _BASELINE] = None,
    effective: Annotated[str | None, _EFFECTIVE] = None,
    overwrite_grafana: Annotated[bool, _OVERWRITE] = False,
    acls: Annotated[
        bool,
        typer.Option("--acls", help="Print the least rights in Kafka as commands of kafka-acls.sh, and nothing else."),
    ] = False,
    roles: Annotated[
        bool,
        typer.Option("--roles", help="Print the least roles in ClickHouse as SQL, and nothing else."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Show what `apply` would change, and change nothing.

    Exits with 0 where there is nothing to do and with 3 where `apply` would change something, or Grafana was edited.
    With `--acls` or `--roles` neither Kafka nor ClickHouse is asked: what they are to be told is printed.

    Examples:
        barograph plan contracts/flight-delay.yaml
        barograph plan contracts/*.yaml --config production.toml
        barograph plan --acls contracts/*.yaml > grant.sh
        barograph plan --roles > roles.sql
    """
    from cli.apply.plan import plan_all
    from cli.settings import load_settings

    if acls or roles:
        _print_access(contracts or [], config, acls=acls, roles=roles)
        return
    pairs, baselines = _read(contracts or [], baseline)
    settings = load_settings(config)
    plan = plan_all(
        settings, pairs, baselines, effective_s=parse_effective(effective), overwrite_grafana=overwrite_grafana
    )
    from cli.apply.show import plan_lines

    Terminal().changes(plan_lines(plan))
    if plan.is_empty:
        Terminal().lines(["Nothing to do: everything is as it should be."])
        return
    if plan.changes_nothing:
        Terminal().lines(["`barograph apply` would leave that as it is."])
    else:
        Terminal().lines(["Nothing was changed. `barograph apply` with the same arguments does it."])
    raise typer.Exit(EXIT_CHANGES)


def _print_access(contracts: list[Path], config: Path | None, *, acls: bool, roles: bool) -> None:
    """Print the commands or the SQL, for a file or a pipe: as they are, neither coloured nor wrapped."""
    from cli.access.acls import acl_lines, user_acls
    from cli.access.roles import role_lines
    from cli.apply.files import read_contracts
    from cli.settings import load_settings

    if acls and roles:
        raise ApplyError("--acls prints shell commands and --roles SQL: ask for one at a time.")
    settings = load_settings(config, needs=())
    result = [contract for contract, _ in read_contracts(contracts)]
    if acls:
        lines = acl_lines(user_acls(settings.topics, result), settings.bootstrap_servers)
    else:
        lines = role_lines(settings.warehouse.database)
    print("\n".join(lines))


def apply_command(
    contracts: Annotated[list[Path] | None, _CONTRACTS] = None,
    baseline: Annotated[list[Path] | None, _BASELINE] = None,
    effective: Annotated[str | None, _EFFECTIVE] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for whoever reads the table of baselines later.")
    ] = "",
    overwrite_grafana: Annotated[bool, _OVERWRITE] = False,
    config: ConfigOption = None,
) -> None:
    """Create or change tables, topics, contracts and baselines; a second run has nothing to do.

    Where the settings name a Grafana, dashboards, rules and what they rest on are deployed to it too.

    Examples:
        barograph apply
        barograph apply contracts/flight-delay.yaml
        barograph apply contracts/churn.yaml --baseline churn.4.baseline.json --reason "retrained on spring"
    """
    from cli.apply.plan import apply_all
    from cli.settings import load_settings

    pairs, baselines = _read(contracts or [], baseline)
    settings = load_settings(config)
    done = apply_all(
        settings,
        pairs,
        baselines,
        effective_s=parse_effective(effective),
        reason=reason,
        overwrite_grafana=overwrite_grafana,
    )
    from cli.apply.grafana.show import left_sentence
    from cli.apply.show import plan_lines

    Terminal().changes(plan_lines(done))
    if done.is_empty:
        Terminal().lines(["Nothing to do: everything is as it should be."])
    elif done.contracts or done.baselines:
        Terminal().lines(["Applied. Running processors take it up within 10 seconds."])
    elif not done.changes_nothing:
        Terminal().lines(["Applied."])
    if done.grafana is not None and done.grafana.left:
        raise ApplyError(left_sentence(done.grafana))


def parse_effective(text: str | None) -> int | None:
    """Read `--effective`, where it is given, as `parse_moment` does."""
    return None if text is None else parse_moment("--effective", text)


def parse_moment(option: str, text: str) -> int:
    """Read a time with an offset as Unix seconds.

    Raises:
        ApplyError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.microsecond:
        raise ApplyError(
            f"{option} {text} is no time: write date, time in whole seconds and offset, such as 2026-03-01T00:00:00Z."
        )
    return int(moment.timestamp())


def _read(contracts: list[Path], baselines: list[Path] | None) -> tuple[list[tuple[Contract, str]], list[Baseline]]:
    from cli.apply.files import baselines_beside, read_baselines, read_contracts

    pairs = read_contracts(contracts)
    if not baselines:
        baselines = baselines_beside([(path, pair[0]) for path, pair in zip(contracts, pairs, strict=True)])
    return pairs, read_baselines(baselines)
