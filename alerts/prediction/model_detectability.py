"""Computes what the rules and windows of a model detect, at the traffic of the last week."""

from collections.abc import Sequence
from dataclasses import dataclass

from barograph.contract import Contract

from barograph_server.alerts.prediction.smallest_change import (
    Detectability,
    change_tables,
    rule_detectability,
    window_detectability,
)
from barograph_server.alerts.prediction.window_power import WindowTraffic
from barograph_server.alerts.settings import AlertSettings
from barograph_server.sketches.baseline.baseline import ALL, Baseline, FieldBaseline
from barograph_server.sketches.baseline.groups import reference_slices
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history.field_traffic import TRAFFIC_DAYS, field_traffic, load_applied

HORIZONS = {"1h": 3_600.0, "1d": 86_400.0, "7d": 604_800.0}
"""The times within which a change is detected, in seconds."""

TrafficByField = dict[tuple[str, str], dict[str, WindowTraffic]]
"""Field and slice → name of the window → its traffic."""


class DetectabilityError(RuntimeError):
    """What a model detects cannot be computed; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class ModelDetectability:
    """The smallest changes of a model's fields that are detected."""

    model: str
    version: str
    baseline_id: str
    rules: tuple[Detectability, ...]
    """What pages, or creates a ticket, the least visible fields first."""
    windows: tuple[Detectability, ...]
    """What makes a window of a slice `major`, in the order of fields, slices and windows."""
    std: dict[str, float]
    """Standard deviation of each numeric field in training."""


def compute_detectability(
    client: Client, contract: Contract, settings: AlertSettings, fields: Sequence[str] = ()
) -> ModelDetectability:
    """Compute the smallest changes of some fields that are detected.

    Args:
        fields: names of fields of the contract; by default the critical ones. If no field is critical, all fields are
            included: their rules create tickets.

    Raises:
        DetectabilityError: the model has no verdict of the last week, or its baseline is not applied.
        BaselineError: this release cannot read the baseline.
    """
    traffic = field_traffic(client, contract.model)
    if not traffic:
        raise DetectabilityError(
            f"{contract.model} has no verdict on a whole window of the last {TRAFFIC_DAYS} days, so its traffic is "
            "unknown. `barograph status` shows its state."
        )
    version, baseline_id = traffic[0].version, traffic[0].baseline_id
    baseline = load_applied(client, contract.model, baseline_id)
    if baseline is None:
        raise DetectabilityError(
            f"The baseline {baseline_id} of the newest verdicts of {contract.model} is not applied. Apply it again "
            "with `barograph apply --baseline FILE`."
        )
    windows = {window.name: window for window in contract.windows}
    rows: TrafficByField = {}
    for each in traffic:
        if each.window in windows and each.n > 0:
            of_window = WindowTraffic(windows[each.window], each.length_s, each.n, max(1.0, each.phi), each.df)
            rows.setdefault((each.field, each.slice), {})[each.window] = of_window
    by_name = {each.name: each for each in baseline.fields}
    critical = [each.name for each in contract.fields if each.critical]
    chosen = fields or critical or [each.name for each in contract.fields]
    trained = [by_name[name] for name in chosen if name in by_name]
    by_rule: list[Detectability] = []
    for field in trained:
        if any(field.slices[ALL].cells):
            whole = rows.get((field.name, ALL), {})
            by_rule += rule_detectability(contract, field, whole, tuple(HORIZONS.values()), settings)
    by_window = _of_windows(contract, baseline, trained, rows)
    std = {each.name: each.std for each in baseline.fields if each.kind == "numeric"}
    return ModelDetectability(
        contract.model, version, baseline_id, tuple(sorted(by_rule, key=visibility)), tuple(by_window), std
    )


def visibility(row: Detectability) -> tuple[bool, list[float]]:
    """Sort the least visible first, by a day, a week and an hour; rates after distributions, whose sizes differ."""
    hour, day, week = row.smallest
    # A shift by a standard deviation ranks as a move of a tenth of the events.
    unit = 10.0 if row.change == "shift" else 1.0
    return row.change == "nulls", [-size / unit for size in (day, week, hour)]


def _of_windows(
    contract: Contract, baseline: Baseline, fields: list[FieldBaseline], rows: TrafficByField
) -> list[Detectability]:
    layout = Layout(baseline)
    references = dict(zip(layout.slices, reference_slices(layout), strict=True))
    result: list[Detectability] = []
    for field in fields:
        tables = {
            name: change_tables(field, name)
            for name in set(references.values())
            if name in field.slices and any(field.slices[name].cells)
        }
        for slice_name, reference in references.items():
            if reference not in tables:
                continue
            of_slice = rows.get((field.name, slice_name), {})
            for window in sorted(of_slice.values(), key=lambda traffic: traffic.length_s):
                result += window_detectability(
                    contract, field, reference, slice_name, window, tuple(HORIZONS.values()), tables[reference]
                )
    return result
