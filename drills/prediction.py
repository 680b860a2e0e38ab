"""Predicts when the expected rules page, from the values of the events with the fault."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract, Field

from barograph_server.alerts.prediction.page_time import PageTime, predict_pages
from barograph_server.alerts.prediction.window_power import Traffic
from barograph_server.alerts.routing import GROUP_WAIT_S
from barograph_server.alerts.settings import AlertSettings
from barograph_server.drills.faults import EventTables, Injection
from barograph_server.drills.faults.fault import epoch_ms
from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.cells import (
    FieldCells,
    category_cells,
    count_categories,
    count_numeric,
    numeric_cells,
)
from barograph_server.sketches.detection.effects import observed_shares


@dataclass(frozen=True, slots=True)
class PagePrediction:
    """The predicted event time from the start of a fault to the first expected notification."""

    interval_s: tuple[float, float] | None
    """Its 10 and 90 % quantiles, in seconds; None if no interval can be given."""
    reason: str = ""
    """Why there is no interval; empty with an interval, and for a fault that no rule sees."""


def predict_page(
    injection: Injection,
    contract: Contract,
    baseline: Baseline,
    events: EventTables,
    settings: AlertSettings,
    *,
    live: bool = False,
) -> PagePrediction:
    """Predict the first expected notification, whichever fault changed the values of a field.

    The fault is taken as lasting, and the traffic as that of its period.
    """
    if not injection.fires:
        return PagePrediction(None)
    period = injection.period
    inside = events.predictions.filter(pa.array(period.mask(events.predictions)))
    names = {field.name for field in baseline.fields}
    if not any(expected.key in names for expected in injection.fires):
        rules = ", ".join(dict.fromkeys(expected.rule for expected in injection.fires))
        return PagePrediction(None, f"{rules} does not depend on the values of a field")
    if not inside.num_rows:
        return PagePrediction(None, "no events arrive during the fault")
    traffic = Traffic(inside.num_rows / ((period.end_ms - period.start_ms) / 1000))
    if not live:
        # On the replay clock a verdict takes effect when its window ends.
        contract = msgspec.structs.replace(contract, lateness_s=0, out_of_order_s=0)
    pages = list(_expected_pages(injection, contract, baseline, inside, traffic, settings))
    low_s, high_s = (min((getattr(page, name) for page in pages), default=math.inf) for name in ("low_s", "high_s"))
    if math.isfinite(high_s):
        return PagePrediction((low_s + GROUP_WAIT_S, high_s + GROUP_WAIT_S))
    if not pages:
        return PagePrediction(None, "the contract has no such rule, or no event has a value")
    if not any(page.is_predictable for page in pages):
        return PagePrediction(None, "the windows have too few independent events")
    if math.isfinite(low_s):
        return PagePrediction(None, "the probability of a page is below 90 %; use a larger fault")
    return PagePrediction(None, "the fault is too small to page; use a larger one")


def _expected_pages(
    injection: Injection,
    contract: Contract,
    baseline: Baseline,
    predictions: pa.Table,
    traffic: Traffic,
    settings: AlertSettings,
) -> Iterator[PageTime]:
    """Predict each expected rule that reads a field."""
    fields = {field.name: field for field in contract.fields}
    for trained in baseline.fields:
        rules = {expected.rule for expected in injection.fires if expected.key == trained.name}
        counts = count_values(fields[trained.name], trained, predictions) if rules else None
        if counts is not None and any(counts.cells):
            pages = predict_pages(contract, trained, observed_shares(trained, counts), traffic, settings)
            yield from (page for page in pages if page.rule in rules)


def count_values(field: Field, trained: FieldBaseline, predictions: pa.Table) -> SliceCounts:
    """Count the values of a field on the cells of its baseline, as the sketcher does.

    Args:
        field: the field; a timestamp counts by its age in seconds at the event.
    """
    column = predictions[field.source].combine_chunks()
    cells = FieldCells(trained)
    if trained.kind == "category":
        return SliceCounts.from_columns(count_categories(cells, category_cells(cells, column))[0].tolist())
    null = pc.is_null(column).to_numpy(zero_copy_only=False)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz)).cast(pa.int64())
    values = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
    if field.type == "timestamp":
        values = (epoch_ms(predictions) - values) / 1000
    return SliceCounts.from_columns(count_numeric(cells, numeric_cells(cells, values, null))[0].tolist())
