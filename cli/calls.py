"""The command line of `barograph calls`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from barograph.contract import Contract

from barograph_server.cli.options import Connection, Model, Opt, Output
from barograph_server.contracts import read_contracts
from barograph_server.errors import CommandError
from barograph_server.terminal import TableColumn, Terminal, listed, significant, utc_minute
from barograph_server.times import parse_since
from barograph_server.warehouse.operations.calls import Call, CallKind, read_calls

MAX_CALLS = 1_000


@dataclass(frozen=True, slots=True)
class LinkedCall:
    """A call, and the address of its trace; empty without `trace_url` in the contract."""

    call: Call
    trace: str


@dataclass(frozen=True, slots=True)
class Calls:
    model: str
    calls: tuple[LinkedCall, ...]


def _number(value: float | None) -> str:
    return "-" if value is None else significant(value)


_COLUMNS = (
    TableColumn(lambda each: utc_minute(each.call.at), "at"),
    TableColumn(lambda each: each.call.id, "id"),
    TableColumn(lambda each: each.call.version, "version"),
    TableColumn(lambda each: each.call.prompt or each.call.arm or "-", "prompt"),
    TableColumn(lambda each: _number(each.call.latency_ms), "ms", is_number=True),
    TableColumn(lambda each: _number(each.call.input_tokens), "input", is_number=True),
    TableColumn(lambda each: _number(each.call.output_tokens), "output", is_number=True),
    TableColumn(lambda each: _number(each.call.cost_usd), "US $", is_number=True),
    TableColumn(lambda each: each.call.error or listed(each.call.faulty) or "-", "error or fault"),
    TableColumn(lambda each: each.trace or "-", "trace"),
)


def print_calls(terminal: Terminal, result: Calls) -> None:
    if not result.calls:
        terminal.line(f"No raw row of {result.model} in this range is such a call.")
        return
    terminal.rows(result.calls, _COLUMNS)


def calls_command(
    output: Output,
    connection: Connection,
    model: Model,
    slow: Annotated[bool, Opt("The slowest calls.")] = False,
    failed: Annotated[bool, Opt("Calls that failed, the newest first.")] = False,
    costly: Annotated[bool, Opt("The most expensive calls.")] = False,
    faulty: Annotated[bool, Opt("Calls whose answer an evaluator found faulty, the newest first.")] = False,
    since: Annotated[str, Opt("Start of the range: a time, or how long ago.", "TIME")] = "1h",
    limit: Annotated[int, Opt("Show at most N calls.", "N", min=1, max=MAX_CALLS)] = 20,
) -> None:
    """List single calls of a model: the newest, slowest, failed, most expensive or faulty ones.

    Reads raw rows. `trace_url` in the contract makes a link of the trace id of each call from OpenTelemetry.

    Examples:
        barograph calls --model support-bot --slow --since 1h
        barograph calls --model support-bot --faulty --since 1d --format json | jq -r '.calls[].trace'
    """
    chosen: dict[CallKind, bool] = {"slow": slow, "failed": failed, "costly": costly, "faulty": faulty}
    kinds = [kind for kind, is_chosen in chosen.items() if is_chosen] or ["latest"]
    if len(kinds) > 1:
        raise CommandError(f"--{kinds[0]} and --{kinds[1]} exclude each other: write one of them.")
    with connection.warehouse() as client:
        contract = read_contracts(client).get(model)
        if contract is None:
            raise CommandError(f"{model} has no contract. `barograph status` lists the models.")
        calls = read_calls(client, model, parse_since("--since", since, datetime.now(UTC)), kinds[0], limit)
    output.show(Calls(model, tuple(LinkedCall(call, _link(contract, call.id)) for call in calls)), print_calls)


def _link(contract: Contract, event_id: str) -> str:
    """Return the address of the trace of a call whose id is of OpenTelemetry: the trace and the span."""
    is_of_trace = re.fullmatch("[0-9a-f]{32}-[0-9a-f]{16}", event_id)
    return contract.trace_url.replace("{trace_id}", event_id[:32]) if is_of_trace else ""
