"""The command lines of `barograph reference`."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from barograph_server.cli.options import CommandGroup, Connection, DryRun, ListOutput, Model, Opt, require_reason
from barograph_server.errors import CommandError
from barograph_server.provisioning.reference_periods import CandidatePeriod, SetRequest, list_periods, set_period
from barograph_server.terminal import TableColumn, Terminal, plural, utc_second
from barograph_server.times import parse_exact_time


def _periods_columns(metric: str) -> Sequence[TableColumn]:
    return (
        TableColumn("version"),
        TableColumn("from_s", "from", utc_second),
        TableColumn("to_s", "to", utc_second),
        TableColumn("predictions", format=","),
        TableColumn("labelled", format=","),
        TableColumn("value", metric, ".3g"),
        TableColumn("in_force", format=lambda in_force: "yes" if in_force else ""),
        TableColumn("reason"),
    )


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


reference_app = CommandGroup()


@reference_app.add("list")
def list_command(
    output: ListOutput,
    connection: Connection,
    model: Model,
    version: Annotated[str | None, Opt("Only this version. Default: all versions.")] = None,
) -> None:
    """List the weeks of each version with their labels, which period is the reference, and why.

    Examples:
        barograph reference list --model flight-delay
        barograph reference list --model flight-delay --version 3 --format json
    """
    periods = list_periods(connection.settings("clickhouse").warehouse, model, version)
    columns = _periods_columns(periods[0].metric if periods else "accuracy")
    output.show(periods, columns, style=lambda period: "bold" if period.in_force else "", result=periods)


@reference_app.add("set")
def set_command(
    connection: Connection,
    model: Model,
    version: Annotated[str, Opt("Version of the model.")],
    reason: Annotated[str, Opt("Why performance is compared with this period.", "TEXT")],
    from_: Annotated[str | None, Opt("Start of the period (event time).", "TIME")] = None,
    to: Annotated[str | None, Opt("End of the period (event time), exclusive.", "TIME")] = None,
    automatic: Annotated[bool, Opt("Let the scorer choose again: the first good week.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Choose the period that the performance of a version is compared with.

    The choice is stored in ClickHouse and stays in force until the next one. The scorer counts the period in its next
    pass and judges all windows of the version again.

    Examples:
        barograph reference set --model shop --version 4 --from 2026-03-02T00:00Z --to 2026-03-30T00:00Z --reason launch
        barograph reference set --model shop --version 4 --automatic --reason "labels are corrected"
    """
    why = require_reason(reason, "the reference")
    if automatic == (from_ is not None or to is not None) or (from_ is None) != (to is None):
        raise CommandError("Give both --from and --to, or --automatic.")
    period = None
    if from_ is not None and to is not None:
        period = parse_exact_time("--from", from_), parse_exact_time("--to", to)
    request = SetRequest(model=model, version=version, period=period, reason=why, dry_run=dry_run)
    settings = connection.settings("clickhouse")
    chosen = set_period(settings.warehouse, request)
    Terminal().changes(set_lines(request, chosen))
