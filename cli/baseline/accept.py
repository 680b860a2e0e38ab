"""A new baseline from production: its request, checks and rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from barograph.contract import Contract, format_duration

from cli.apply import catalogue
from cli.apply.catalogue import BaselineChange, Catalogue, StoredBaseline
from cli.baseline.from_production import Learned, learn
from cli.baseline.warnings import doubts
from cli.errors import ApplyError
from cli.terminal import utc_second
from sketches.baseline.baseline import Baseline, load_baseline
from streams.monitor.state.store import WarehouseStore
from warehouse import pane_sums, queries
from warehouse.client import Address, Client, connect
from warehouse.pane_sums import PaneRange, ServedRange

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRequest:
    """A request of `barograph baseline accept`; times are event time, Unix seconds."""

    model: str
    version: str
    from_s: int
    to_s: int
    """After the last pane."""
    reason: str
    effective_s: int | None = None
    incomplete: bool = False
    """Whether panes of which predictions were lost will do."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was, or with `dry_run` would be, accepted."""

    learned: Learned
    old: Baseline
    old_id: str
    contract: Contract
    change: BaselineChange | None
    """None where that very baseline is the version's last already."""
    completeness: float
    doubts: tuple[str, ...]
    """What speaks against the range."""


def accept(
    address: Address,
    request: AcceptRequest,
    *,
    clock: Clock = time.time,
    on_step: Callable[[str], None] = lambda step: None,
) -> Accepted:
    """Make a baseline of production panes and have it hold from a pane boundary on.

    Raises:
        CommandError: the request cannot be fulfilled; the text says why, and what to do instead.
        WarehouseError, WarehouseBusy: ClickHouse refuses or does not answer.
    """
    with connect(address) as client:
        stored = catalogue.read_catalogue(client)
        contract = _contract(stored, request.model)
        history = _history(stored, request)
        _check_range(client, request, contract)
        served = _served(client, request, history)
        completeness = _completeness(client, request, contract, served)
        entry = next(entry for entry in history if entry.baseline_id == served.baseline_id)
        old = _read(entry)
        panes = PaneRange(request.model, request.version, entry.baseline_id, request.from_s, request.to_s)
        learned = learn(client, panes, old, contract, _source(request, entry), on_step)
        change = _change(client, request, contract, stored, learned.baseline, clock())
        if change is not None and not request.dry_run:
            catalogue.store_baselines(client, [change], request.reason, int(clock() * 1000))
    reported = doubts(learned.baseline, contract, request.from_s, request.to_s, served.first, served.last)
    return Accepted(learned, old, entry.baseline_id, contract, change, completeness, tuple(reported))


def _contract(stored: Catalogue, model: str) -> Contract:
    if model not in stored.contracts:
        known = ", ".join(sorted(stored.contracts)) or "none"
        raise ApplyError(f"No contract of a model {model} is applied; there are: {known}.")
    contract = stored.contracts[model][1]
    if contract is None:
        raise ApplyError(f"The contract of {model} in force cannot be read by this program: apply it again.")
    return contract


def _history(stored: Catalogue, request: AcceptRequest) -> list[StoredBaseline]:
    entries = stored.baselines.get(request.model, ())
    history = [entry for entry in entries if entry.version == request.version]
    if not history:
        known = ", ".join(sorted({entry.version for entry in entries})) or "none"
        raise ApplyError(
            f"Version {request.version} of {request.model} has no baseline of its own; versions that have one: "
            f"{known}. The first of a version comes from its training data: `barograph infer`, then `barograph apply`."
        )
    return history


def _check_range(client: Client, request: AcceptRequest, contract: Contract) -> None:
    """Refuse a range that is no run of sealed panes."""
    pane_s = contract.pane_s
    for option, at_s, nearest in (
        ("--from", request.from_s, -(-request.from_s // pane_s) * pane_s),
        ("--to", request.to_s, request.to_s // pane_s * pane_s),
    ):
        if at_s % pane_s:
            raise ApplyError(
                f"{option} {utc_second(at_s)} is no boundary of panes of {contract.model}, which are "
                f"{format_duration(pane_s)} long: take {utc_second(nearest)}."
            )
    if request.from_s >= request.to_s:
        raise ApplyError(
            f"--from {utc_second(request.from_s)} is not before --to {utc_second(request.to_s)}: give a range."
        )
    sealed_s = WarehouseStore(client).sealed_until_s(contract.model)
    if sealed_s is None:
        raise ApplyError(f"No pane of {contract.model} is sealed yet: wait until the monitor has sealed the range.")
    if request.to_s > sealed_s:
        raise ApplyError(
            f"Panes of {contract.model} are sealed until {utc_second(sealed_s)}, and the range ends at "
            f"{utc_second(request.to_s)}: "
            f"take --to {utc_second(sealed_s // pane_s * pane_s)} or earlier, or wait."
        )


def _served(client: Client, request: AcceptRequest, history: list[StoredBaseline]) -> ServedRange:
    """The one baseline by which the range was counted."""
    result = pane_sums.served(client, request.model, request.version, request.from_s, request.to_s)
    what = f"{request.model} version {request.version}"
    if not result:
        ever = pane_sums.served(client, request.model, request.version, 0, queries.END_OF_TIME_S)
        hint = (
            f"it had some from {utc_second(min(row.first.timestamp() for row in ever))} to "
            f"{utc_second(max(row.last.timestamp() for row in ever))}"
            if ever
            else "it never had any"
        )
        raise ApplyError(
            f"No predictions of {what} were counted from {utc_second(request.from_s)} to "
            f"{utc_second(request.to_s)}: {hint}."
        )
    if len(result) > 1:
        runs = "; ".join(f"{row.baseline_id} from {utc_second(row.first)} to {utc_second(row.last)}" for row in result)
        raise ApplyError(
            f"The range was counted on the bins of {len(result)} baselines ({runs}): take a range within one of them."
        )
    if result[0].baseline_id not in {entry.baseline_id for entry in history}:
        raise ApplyError(
            f"The range was counted on baseline {result[0].baseline_id}, which is none of {what}: it was not "
            "registered yet. Take a later range."
        )
    return result[0]


def _completeness(client: Client, request: AcceptRequest, contract: Contract, served: ServedRange) -> float:
    """The share of the range's predictions that were merged, by the losses that the monitor recorded."""
    ledger, _ = WarehouseStore(client).load_ledger(served.partials_partition, "")
    lost = ledger.lost_offsets(request.from_s * 1000, request.to_s * 1000, contract.out_of_order_s * 1000)
    completeness = served.n / (served.n + lost) if lost else 1.0
    if lost and not request.incomplete:
        raise ApplyError(
            f"{lost:,} offsets that may have held predictions of the range are lost, so that it is {completeness:.2%} "
            "complete: take a range without loss (`barograph status` shows the last), or say --incomplete."
        )
    return completeness


def _change(
    client: Client, request: AcceptRequest, contract: Contract, stored: Catalogue, baseline: Baseline, now_s: float
) -> BaselineChange | None:
    """When the baseline takes effect, by the same rules as `apply`, and after what is sealed or accepted already.

    None where it is the version's last already: sketches flip coins, so that quantiles alone differ between two runs.
    """
    last = stored.latest(contract.model, request.version)
    if last is not None and _but_quantiles(_read(last)) == _but_quantiles(baseline):
        return None
    changes = catalogue.plan_baselines(
        [baseline], {contract.model: contract}, stored, effective_s=request.effective_s, now_s=now_s
    )
    if not changes:
        return None
    [change] = changes
    sealed_s = WarehouseStore(client).sealed_until_s(contract.model) or 0
    if change.effective_from_s < sealed_s:
        raise ApplyError(
            f"Panes are sealed until {utc_second(sealed_s)} already, and the baseline would hold from "
            f"{utc_second(change.effective_from_s)}: take --effective {utc_second(sealed_s)} or later."
        )
    if last is not None and last.effective_from_s > change.effective_from_s:
        raise ApplyError(
            f"Baseline {last.baseline_id} holds from {utc_second(last.effective_from_s)} on, after this one would: "
            f"take --effective {utc_second(last.effective_from_s + contract.pane_s)} or later."
        )
    return change


def _read(entry: StoredBaseline) -> Baseline:
    return load_baseline(entry.body.encode(), f"baseline {entry.baseline_id}")


def _but_quantiles(baseline: Baseline) -> Baseline:
    fields = tuple(msgspec.structs.replace(field, quantiles=()) for field in baseline.fields)
    return msgspec.structs.replace(baseline, fields=fields)


def _source(request: AcceptRequest, entry: StoredBaseline) -> str:
    return (
        f"production from {utc_second(request.from_s)} to {utc_second(request.to_s)}, on the bins of "
        f"{entry.baseline_id}: {' '.join(request.reason.split())}"
    )
