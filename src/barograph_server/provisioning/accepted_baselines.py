"""A new baseline from production: its request, checks and rows."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from barograph.contract import Contract, format_duration

from barograph_server.errors import ApplyError
from barograph_server.profiling.baseline.from_production import LearnedBaseline, learn
from barograph_server.profiling.baseline.warnings import range_warnings
from barograph_server.provisioning import catalogue
from barograph_server.provisioning.catalogue import BaselineChange, Catalogue, parse_baseline
from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.terminal import utc_second
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.history import pane_sums
from barograph_server.warehouse.history.pane_sums import PaneRange, ServedRange
from barograph_server.warehouse.queries import BaselineRow


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRequest:
    """A request of `barograph baseline accept`; times are event time, Unix seconds."""

    model: str
    version: str
    from_s: int
    to_s: int
    """End of the last pane."""
    reason: str
    effective_s: int | None = None
    incomplete: bool = False
    """Whether to accept a range with lost predictions."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class AcceptedBaseline:
    """An accepted baseline, or with `dry_run` one that would be accepted."""

    learned: LearnedBaseline
    old: Baseline
    old_id: str
    contract: Contract
    change: BaselineChange | None
    """None if the version's latest baseline is the same already."""
    completeness: float
    warnings: tuple[str, ...]
    """Weaknesses of the range."""


def accept(
    address: Address,
    request: AcceptRequest,
    *,
    clock: Callable[[], float] = time.time,
    on_step: Callable[[str], None] = lambda step: None,
) -> AcceptedBaseline:
    """Learn a baseline from production panes and store it with the pane boundary at which it takes effect.

    Raises:
        CommandError: the request cannot be fulfilled; the text says why, and what to do instead.
    """
    with connect(address) as client:
        stored = catalogue.read_catalogue(client)
        contract = stored.contract(request.model)
        history = _version_history(stored, request)
        _check_range(client, request, contract)
        served = _find_served_range(client, request, history)
        completeness = _completeness(client, request, contract, served)
        entry = next(entry for entry in history if entry.baseline_id == served.baseline_id)
        old = parse_baseline(entry)
        panes = PaneRange(request.model, request.version, entry.baseline_id, request.from_s, request.to_s)
        counted = f"{utc_second(request.from_s)} to {utc_second(request.to_s)}, counted with {entry.baseline_id}"
        source = f"production from {counted}: {' '.join(request.reason.split())}"
        learned = learn(client, panes, old, contract, source, on_step)
        change = _plan_change(client, request, contract, stored, learned.baseline, clock())
        if change is not None and not request.dry_run:
            catalogue.store_baselines(client, [change], request.reason, int(clock() * 1000))
    warnings = range_warnings(learned.baseline, contract, request.from_s, request.to_s, served.first, served.last)
    return AcceptedBaseline(learned, old, entry.baseline_id, contract, change, completeness, tuple(warnings))


def _version_history(stored: Catalogue, request: AcceptRequest) -> list[BaselineRow]:
    history = stored.history(request.model, request.version)
    if not history:
        known = ", ".join(sorted({row.version for row in stored.baselines if row.model == request.model})) or "none"
        raise ApplyError(
            f"Version {request.version} of {request.model} has no baseline of its own; versions that have one: "
            f"{known}. Create the first one from training data: `barograph infer`, then `barograph apply`."
        )
    return history


def _check_range(client: Client, request: AcceptRequest, contract: Contract) -> None:
    """Check that the range consists of whole, sealed panes."""
    pane_s = contract.pane_s
    for option, at_s, nearest in (
        ("--from", request.from_s, -(-request.from_s // pane_s) * pane_s),
        ("--to", request.to_s, request.to_s // pane_s * pane_s),
    ):
        if at_s % pane_s:
            raise ApplyError(
                f"{option} {utc_second(at_s)} is not a pane boundary of {contract.model}, whose panes are "
                f"{format_duration(pane_s)} long: use {utc_second(nearest)}."
            )
    if request.from_s >= request.to_s:
        raise ApplyError(
            f"--from {utc_second(request.from_s)} is not before --to {utc_second(request.to_s)}: change one of them."
        )
    sealed_s = WarehouseStore(client).sealed_until_s(contract.model)
    if sealed_s is None:
        raise ApplyError(f"No pane of {contract.model} is sealed yet: wait until the monitor has sealed the range.")
    if request.to_s > sealed_s:
        raise ApplyError(
            f"Panes of {contract.model} are sealed until {utc_second(sealed_s)}, but the range ends at "
            f"{utc_second(request.to_s)}: use --to {utc_second(sealed_s // pane_s * pane_s)} or earlier, or wait."
        )


def _find_served_range(client: Client, request: AcceptRequest, history: list[BaselineRow]) -> ServedRange:
    """Return the only baseline that the panes of the range were counted with."""
    result = pane_sums.served(client, request.model, request.version, request.from_s, request.to_s)
    what = f"{request.model} version {request.version}"
    if not result:
        ever = pane_sums.served(client, request.model, request.version, 0, queries.END_OF_TIME_S)
        hint = (
            f"its predictions range from {utc_second(min(row.first.timestamp() for row in ever))} to "
            f"{utc_second(max(row.last.timestamp() for row in ever))}"
            if ever
            else "it has none at all"
        )
        raise ApplyError(
            f"No predictions of {what} were counted from {utc_second(request.from_s)} to "
            f"{utc_second(request.to_s)}: {hint}."
        )
    if len(result) > 1:
        runs = "; ".join(f"{row.baseline_id} from {utc_second(row.first)} to {utc_second(row.last)}" for row in result)
        raise ApplyError(
            f"The range was counted on the bins of {len(result)} baselines ({runs}): use a range within one of them."
        )
    if result[0].baseline_id not in {entry.baseline_id for entry in history}:
        raise ApplyError(
            f"The range was counted on baseline {result[0].baseline_id}, which does not belong to {what}: the version "
            "was not registered yet. Use a later range."
        )
    return result[0]


def _completeness(client: Client, request: AcceptRequest, contract: Contract, served: ServedRange) -> float:
    """Return the share of the range's predictions that were merged, from the losses that the monitor recorded."""
    ledger, _ = WarehouseStore(client).load_ledger(served.partials_partition, "")
    lost = ledger.lost_offsets(request.from_s * 1000, request.to_s * 1000, contract.out_of_order_s * 1000)
    completeness = served.n / (served.n + lost) if lost else 1.0
    if lost and not request.incomplete:
        raise ApplyError(
            f"{lost:,} offsets with possible predictions of the range were lost, so it is {completeness:.2%} complete: "
            "use a range without losses (`barograph status` shows the last), or add --incomplete."
        )
    return completeness


def _plan_change(
    client: Client, request: AcceptRequest, contract: Contract, stored: Catalogue, baseline: Baseline, now_s: float
) -> BaselineChange | None:
    """Plan when the baseline takes effect, by the rules of `apply`, after all sealed panes and accepted baselines.

    Return None if the version's latest baseline is the same. Only counted figures are compared: merged sketches are
    randomized, so quantiles and new bins differ between two runs.
    """
    last = stored.history(contract.model, request.version)[-1]
    if _counted_figures(parse_baseline(last)) == _counted_figures(baseline):
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
            f"Panes are already sealed until {utc_second(sealed_s)}, but the baseline would apply from "
            f"{utc_second(change.effective_from_s)}: use --effective {utc_second(sealed_s)} or later."
        )
    last_s = int(last.effective_from.timestamp())
    if last_s > change.effective_from_s:
        raise ApplyError(
            f"Baseline {last.baseline_id} takes effect at {utc_second(last_s)}, later than this one: use --effective "
            f"{utc_second(last_s + contract.pane_s)} or later."
        )
    return change


def _counted_figures(baseline: Baseline) -> Baseline:
    """Return a baseline without the figures that come from sketches."""
    return msgspec.structs.replace(baseline, fields=tuple(map(_counted_field, baseline.fields)))


def _counted_field(field: FieldBaseline) -> FieldBaseline:
    if not field.has_sketched_bins:
        return msgspec.structs.replace(field, quantiles=())
    slices = {
        name: msgspec.structs.replace(counts, cells=counts.cells[-1:], noise=0.0)
        for name, counts in field.slices.items()
    }
    return msgspec.structs.replace(field, quantiles=(), edges=(), hours_of_week={}, slices=slices)
