"""The command lines of `barograph plan` and `barograph apply`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from barograph_server.alerts import rules_for, to_files
from barograph_server.alerts.files import write_files
from barograph_server.cli.options import Arg, Connection, Opt, Options
from barograph_server.errors import EXIT_CHANGES, ApplyError
from barograph_server.provisioning.access.acls import acl_lines, user_acls
from barograph_server.provisioning.access.roles import role_lines
from barograph_server.provisioning.catalogue import ALWAYS_S, BaselineChange, ContractChange, check_models
from barograph_server.provisioning.files import read_contracts
from barograph_server.provisioning.grafana.plan import GrafanaChange, GrafanaPlan
from barograph_server.provisioning.plan import Plan, with_evaluators
from barograph_server.provisioning.promotions import Promotion
from barograph_server.provisioning.topics import TopicChange
from barograph_server.settings import GrafanaSettings, load_settings
from barograph_server.terminal import Terminal, plural, utc_second

_MAX_SHOWN = 8
"""Differences of one object that are shown at most."""


def grafana_lines(plan: GrafanaPlan) -> Iterator[str]:
    """Describe a plan: `+`, `~`, `-` mark an object to create, change or delete, `!` one that is skipped, or a note."""
    for change in plan.written + plan.skipped:
        yield f"{change.mark} {_change_line(change)}"
        lines = change.differences
        yield from (f"    {line}" for line in lines[:_MAX_SHOWN])
        if len(lines) > _MAX_SHOWN:
            yield f"    … and {len(lines) - _MAX_SHOWN} more"
    yield from (f"! Grafana: {note}" for note in plan.notes)


def _change_line(change: GrafanaChange) -> str:
    return f"Grafana: {change.resource.label}{change.reason}"


def plan_lines(plan: Plan) -> list[str]:
    """Describe a plan: `+` marks an addition, `~` a change, `!` a note. Empty for an empty plan without notes."""
    lines = []
    if plan.database:
        lines.append(f"+ database {plan.database}")
    lines += [f"+ tables: migration {migration}" for migration in plan.migrations]
    lines += [f"~ table {ttl.table}: kept {ttl.current_days} → {ttl.days} days of event time" for ttl in plan.ttls]
    for topic in plan.topics:
        lines += _topic_lines(topic)
    changed = {change.spec.name for change in plan.topics}
    lines += [f"~ topic {name}: record id and partitions" for name in plan.topic_records if name not in changed]
    lines += [_baseline_line(change) for change in plan.baselines]
    lines += [f"+ codebook {each.id}: {plural(len(each.header.names), 'topic')}" for each in plan.codebooks]
    for contract in plan.contracts:
        lines += _contract_lines(contract)
    lines += [_promotion_line(promotion) for promotion in plan.promotions]
    if plan.grafana is not None:
        lines += grafana_lines(plan.grafana)
    return lines + [f"! {note}" for note in plan.notes]


def _topic_lines(change: TopicChange) -> Iterator[str]:
    spec = change.spec
    if change.create:
        settings = _describe_settings({**spec.enforced, **spec.initial})
        yield f"+ topic {spec.name}: {', '.join([plural(spec.partitions, 'partition'), *settings])}"
        return
    if change.grow_from is not None:
        yield f"~ topic {spec.name}: {change.grow_from} → {plural(spec.partitions, 'partition')}"
    for key, (old, new) in (change.settings or {}).items():
        yield f"~ topic {spec.name}: {key} {old or 'not set'} → {new}"


def _describe_settings(settings: Mapping[str, str]) -> Iterator[str]:
    for key, value in settings.items():
        if key == "message.timestamp.type":
            yield "broker timestamps"
        elif key == "retention.ms":
            yield f"retention {int(value) // 86_400_000} days"
        elif key == "max.message.bytes":
            yield f"messages up to {int(value) >> 20} MiB"


def _baseline_line(change: BaselineChange) -> str:
    baseline = change.baseline
    what = f"baseline {change.baseline_id} of {baseline.model} version {baseline.version}"
    rows = f"{baseline.rows:,} rows, {len(baseline.fields)} fields"
    if change.effective_from_s == ALWAYS_S:
        return f"+ {what}: {rows}; the version's first, applies to all event times"
    when = utc_second(change.effective_from_s)
    return f"~ {what}: {rows}; replaces {change.replaces} from event time {when}"


def _promotion_line(promotion: Promotion) -> str:
    if promotion.override_reason:
        return f"! {promotion.text} without evidence, by {promotion.override_by}: {promotion.override_reason}"
    grounds = [f"the evidence {promotion.evidence}"] if promotion.evidence else []
    if promotion.eval_runs:
        grounds.append(f"the accepted runs {', '.join(promotion.eval_runs)}")
    if grounds:
        return f"~ {promotion.text}, by {' and '.join(grounds)}"
    needs = ["--evidence BUNDLE"] if promotion.needs_evidence else []
    if promotion.old.suites:
        needs.append(f"an accepted run in {', '.join(promotion.old.suites)}")
    return f"! {promotion.text}: `barograph apply` needs {' and '.join(needs)}, or --override REASON --author NAME"


def _contract_lines(change: ContractChange) -> Iterator[str]:
    contract = change.contract
    if change.difference is None:
        fields = plural(len(contract.fields), "field")
        slices = plural(len(contract.slices), "slice dimension")
        yield f"+ contract of {contract.model}: {fields}, {slices}"
        return
    yield f"~ contract of {contract.model}"
    yield from (f"    {line}" for line in change.difference)


class AppliedFiles(Options, frozen=True):
    contracts: Annotated[
        tuple[Path, ...], Arg("Contract files; without them, only tables and topics.", "CONTRACT")
    ] = ()
    baselines: Annotated[
        tuple[Path, ...],
        Opt(
            "A baseline file; repeatable. Default: MODEL.VERSION.baseline.json next to the contracts.",
            "FILE",
            name="--baseline",
        ),
    ] = ()
    codebooks: Annotated[
        tuple[Path, ...],
        Opt(
            "A codebook that a contract names; repeatable. Default: *.codebook.npz next to the contracts.",
            "FILE",
            name="--codebook",
        ),
    ] = ()
    effective: Annotated[
        str | None,
        Opt(
            "Event time from which a replacement baseline applies, the start of a pane; by default in a minute.", "TIME"
        ),
    ] = None
    overwrite_grafana: Annotated[
        bool, Opt("Overwrite Grafana objects that have our names and were not applied from here.")
    ] = False


class Approval(Options, frozen=True):
    """Why baselines and serving versions change."""

    reason: Annotated[str, Opt("Why the baselines change; stored in the table of baselines.", "TEXT")] = ""
    evidence: Annotated[
        tuple[Path, ...],
        Opt("Evidence for a new serving version, from `barograph shadow export`; repeatable.", "BUNDLE"),
    ] = ()
    override: Annotated[str, Opt("Apply a new serving version without evidence; stored.", "REASON")] = ""
    by: Annotated[str, Opt("Who overrides; stored.", "NAME", name="--author")] = ""


_UP_TO_DATE = "Nothing to do: everything is up to date."


def plan_command(
    inputs: AppliedFiles,
    connection: Connection,
    acls: Annotated[bool, Opt("Only print the minimum Kafka ACLs, as kafka-acls.sh commands.")] = False,
    roles: Annotated[bool, Opt("Only print the minimum ClickHouse roles, as SQL.")] = False,
    grafana_files: Annotated[
        Path | None, Opt("Only write the alert rules of the contracts as provisioning files of Grafana.", "FOLDER")
    ] = None,
) -> None:
    """Show what `apply` would change, and change nothing.

    Exits with 0 if everything is up to date, and with 3 if `apply` would change or skip something.
    `--acls`, `--roles` and `--grafana-files` do not connect to a server.

    Examples:
        barograph plan contracts/flight-delay.yaml
        barograph plan contracts/*.yaml --config production.toml
        barograph plan --acls contracts/*.yaml > grant.sh
        barograph plan --roles > roles.sql
        barograph plan --grafana-files alerting contracts/*.yaml
    """
    from barograph_server.provisioning.deploy import plan

    if grafana_files is not None:
        if acls or roles:
            raise ApplyError("--grafana-files writes files, --acls and --roles print: use one at a time.")
        _write_grafana_files(inputs.contracts, grafana_files, connection.config)
        return
    if acls or roles:
        _print_access(inputs.contracts, connection.config, acls=acls, roles=roles)
        return
    planned = plan(**inputs.values(), settings=connection.config)
    terminal = Terminal()
    terminal.changes(plan_lines(planned))
    if planned.is_empty:
        terminal.line(_UP_TO_DATE)
        return
    if planned.changes_nothing:
        terminal.line("`barograph apply` would not change these objects.")
    else:
        terminal.line("Nothing was changed. Run `barograph apply` with the same arguments to make these changes.")
    raise typer.Exit(EXIT_CHANGES)


def _write_grafana_files(contracts: Sequence[Path], folder: Path, config: Path | None) -> None:

    if not contracts:
        raise ApplyError("--grafana-files writes the rules of contracts: name at least one contract file.")
    loaded = load_settings(config, needs=())
    settings, dashboards = loaded.alerts, (loaded.grafana or GrafanaSettings(url="")).folder
    if settings.folder == dashboards:
        raise ApplyError(
            f"alerts.folder and the folder of dashboards have the same title, {dashboards!r}, and Grafana would create "
            "two folders: change one."
        )
    models = [contract for contract, _ in with_evaluators(read_contracts(contracts))]
    check_models(models)
    rules = rules_for(models, settings)
    terminal = Terminal()
    try:
        changes = list(write_files(folder, to_files(rules, settings)))
    except OSError as error:
        raise ApplyError(f"{folder} cannot be written ({error}): name a folder that you may write to.") from None
    terminal.changes(changes)
    if changes:
        terminal.line("Grafana reads these files when it starts.")
    else:
        terminal.line("Nothing to do: the files are up to date.")


def _print_access(contracts: Sequence[Path], config: Path | None, *, acls: bool, roles: bool) -> None:
    """Print the commands or the SQL without color or wrapping, for a file or a pipe."""
    if acls and roles:
        raise ApplyError("--acls prints shell commands and --roles prints SQL: use one at a time.")
    settings = load_settings(config, needs=())
    result = [contract for contract, _ in read_contracts(contracts)]
    if acls:
        lines = acl_lines(user_acls(settings.topics, result), settings.bootstrap_servers)
    else:
        lines = role_lines(settings.warehouse.database)
    print("\n".join(lines))


def apply_command(inputs: AppliedFiles, approval: Approval, connection: Connection) -> None:
    """Create or change tables, topics, contracts and baselines; a second run changes nothing.

    If the settings have a Grafana, dashboards, rules and the resources they need are deployed to it, too.

    Examples:
        barograph apply
        barograph apply contracts/flight-delay.yaml
        barograph apply contracts/churn.yaml --baseline churn.4.baseline.json --reason "retrained on spring"
        barograph apply contracts/churn.yaml --evidence evidence.zip
    """
    from barograph_server.provisioning.deploy import apply

    applied = apply(
        **inputs.values(),
        **approval.values(),
        settings=connection.config,
        on_warning=lambda text: Terminal(stderr=True).line(f"Warning: {text}"),
    )
    terminal = Terminal()
    terminal.changes(plan_lines(applied))
    if applied.is_empty:
        terminal.line(_UP_TO_DATE)
    elif applied.contracts or applied.baselines or applied.codebooks:
        terminal.line("Applied. Running processors load the changes within 10 seconds.")
    elif not applied.changes_nothing:
        terminal.line("Applied.")
    if applied.grafana is not None and applied.grafana.skipped:
        raise ApplyError("Skipped: " + ". ".join(map(_change_line, applied.grafana.skipped)) + ".")
