"""Computes what the rules and windows of a model detect, at the traffic of the last week."""

from __future__ import annotations

from dataclasses import dataclass

from barograph.contract import Contract

from alerts.prediction.smallest_change import Detectability, change_tables, rule_detectability, window_detectability
from alerts.prediction.window_power import WindowTraffic
from alerts.settings import AlertSettings
from cli.baseline.lookup import load_applied
from cli.contracts import hint
from cli.errors import CommandError
from sketches.baseline.baseline import ALL, Baseline, FieldBaseline
from sketches.baseline.groups import reference_slices
from sketches.baseline.layout import Layout
from warehouse.client import Client
from warehouse.field_traffic import TRAFFIC_DAYS, FieldTraffic, field_traffic

HORIZONS = {"1h": 3_600.0, "1d": 86_400.0, "7d": 604_800.0}
"""The times within which a change is detected, in seconds."""


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
    client: Client, contract: Contract, settings: AlertSettings, field: str | None
) -> ModelDetectability:
    """Compute the smallest changes of the critical fields, or of one field.

    If no field is critical, all fields are included: their rules create tickets.

    Raises:
        CommandError: the field is unknown, or the model has no verdict of the last week.
    """
    names = [each.name for each in contract.fields]
    if field is not None and field not in names:
        raise CommandError(f"The contract of {contract.model} has no field {field!r}{hint(field, names)}")
    critical = [each.name for each in contract.fields if each.critical]
    chosen = [field] if field is not None else critical or names
    traffic = field_traffic(client, contract.model)
    if not traffic:
        raise CommandError(
            f"{contract.model} has no verdict on a whole window of the last {TRAFFIC_DAYS} days, so its traffic is "
            "unknown. `barograph status` shows its state."
        )
    baseline = _find_baseline(client, contract.model, traffic[0].baseline_id)
    fields = {each.name: each for each in baseline.fields}
    windows = {window.name: window for window in contract.windows}
    rows: dict[tuple[str, str], dict[str, WindowTraffic]] = {}
    for each in traffic:
        if each.window in windows and each.n > 0:
            of_window = WindowTraffic(windows[each.window], each.length_s, each.n, max(1.0, each.phi))
            rows.setdefault((each.field, each.slice), {})[each.window] = of_window
    horizons_s = tuple(HORIZONS.values())
    by_rule: list[Detectability] = []
    for name in (name for name in chosen if name in fields and any(fields[name].slices[ALL].cells)):
        whole = rows.get((name, ALL), {})
        by_rule += rule_detectability(contract, fields[name], whole, horizons_s, settings)
    by_window = _of_windows(contract, baseline, [fields[name] for name in chosen if name in fields], rows)
    std = {each.name: each.std for each in baseline.fields if each.kind == "numeric"}
    first: FieldTraffic = traffic[0]
    return ModelDetectability(
        contract.model,
        first.version,
        first.baseline_id,
        tuple(sorted(by_rule, key=_visibility)),
        tuple(by_window),
        std,
    )


def _of_windows(
    contract: Contract,
    baseline: Baseline,
    fields: list[FieldBaseline],
    rows: dict[tuple[str, str], dict[str, WindowTraffic]],
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


def _visibility(row: Detectability) -> tuple[bool, list[float]]:
    """Sort the least visible first, by a day, a week and an hour; rates after distributions, whose sizes differ."""
    hour, day, week = row.smallest
    # A shift by a standard deviation ranks as a move of a tenth of the events.
    unit = 10.0 if row.change == "shift" else 1.0
    return row.change == "nulls", [-size / unit for size in (day, week, hour)]


def _find_baseline(client: Client, model: str, baseline_id: str) -> Baseline:
    baseline = load_applied(client, model, baseline_id)
    if baseline is not None:
        return baseline
    raise CommandError(
        f"The baseline {baseline_id} of the newest verdicts of {model} is not applied. Apply it again with "
        "`barograph apply --baseline FILE`."
    )
