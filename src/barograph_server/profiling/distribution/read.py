"""Reads the panes of a field from ClickHouse, with the contract and the baseline that they are judged by."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from barograph.contract import Contract

from barograph_server.contracts import hint, read_contract
from barograph_server.errors import CommandError
from barograph_server.sketches.baseline.baseline import ALL, Baseline
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.terminal import iso_utc
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history.distribution import CountedRange, counted_ranges, pane_rows
from barograph_server.warehouse.history.field_traffic import load_applied


class DistributionError(CommandError):
    """The selection has no data; the text says which data exists."""


@dataclass(frozen=True, slots=True)
class PaneSelection:
    """The panes to read: one field and slice of a model in a range; times are Unix seconds."""

    model: str
    field: str
    start_s: int
    end_s: int
    version: str | None = None
    """None: the only version in the range."""
    slice_name: str = ALL


@dataclass(frozen=True, slots=True)
class FieldPanes:
    selection: PaneSelection
    version: str
    baseline_id: str
    contract: Contract
    layout: Layout
    slice_index: int
    field_index: int
    panes: pa.Table
    """As `warehouse.history.distribution.pane_rows` returns them; at least one."""


def read_panes(client: Client, selection: PaneSelection) -> FieldPanes:
    """Read the panes of a range, with the contract and the baseline that they are judged by.

    Raises:
        DistributionError: there is no such version, slice or field, or the range has no events.
    """
    contract = read_contract(client, selection.model)
    span = _select_range(counted_ranges(client, selection.model, selection.start_s, selection.end_s), selection)
    baseline = _read_baseline(client, selection.model, span.baseline_id)
    layout = Layout(baseline)
    if selection.field not in layout.field_index:
        raise DistributionError(
            f"{selection.model} has no field {selection.field!r}{hint(selection.field, layout.field_index)}"
        )
    if selection.slice_name not in layout.slices:
        raise DistributionError(
            f"{selection.model} has no slice {selection.slice_name!r}{hint(selection.slice_name, layout.slices)}"
        )
    panes = pane_rows(
        client,
        selection.model,
        span.version,
        span.baseline_id,
        selection.slice_name,
        selection.field,
        selection.start_s,
        selection.end_s,
        # A seasonal comparison needs hours.
        days=contract.season == "none",
    )
    if panes.num_rows == 0:
        name = selection.field if selection.slice_name == ALL else f"{selection.field} in slice {selection.slice_name}"
        raise DistributionError(
            f"There are no events with {name} from {iso_utc(selection.start_s)} to {iso_utc(selection.end_s)}; "
            f"{selection.model} {span.version} has events from {iso_utc(span.start_s)} to {iso_utc(span.end_s)}."
        )
    return FieldPanes(
        selection,
        span.version,
        span.baseline_id,
        contract,
        layout,
        layout.slices.index(selection.slice_name),
        layout.field_index[selection.field],
        panes,
    )


def _select_range(spans: Sequence[CountedRange], selection: PaneSelection) -> CountedRange:
    """Select the only version and baseline with events in the range."""
    model = selection.model
    if not spans:
        raise DistributionError(f"{model} has no events yet; `barograph status` shows its state.")
    if selection.version is not None:
        matching = [span for span in spans if span.version == selection.version]
        if not matching:
            versions = dict.fromkeys(span.version for span in spans)
            raise DistributionError(
                f"{model} has no events of version {selection.version!r}{hint(selection.version, versions)}"
            )
        spans = matching
    inside = [span for span in spans if span.overlapping]
    if not inside:
        ranges = "; ".join(
            f"version {span.version} from {iso_utc(span.start_s)} to {iso_utc(span.end_s)}" for span in spans[:5]
        )
        raise DistributionError(
            f"{model} has no events from {iso_utc(selection.start_s)} to {iso_utc(selection.end_s)}. It has {ranges}."
        )
    in_range = list(dict.fromkeys(span.version for span in inside))
    if len(in_range) > 1:
        raise DistributionError(
            f"The range has several versions of {model}: {', '.join(in_range)}. Choose one with --version."
        )
    if len(inside) > 1:
        ranges = "; ".join(
            f"{span.baseline_id} from {iso_utc(span.start_s)} to {iso_utc(span.end_s)}" for span in inside
        )
        raise DistributionError(
            f"The range has several baselines of {model} {in_range[0]}: {ranges}. Their bins differ: choose a range "
            "within one."
        )
    return inside[0]


def _read_baseline(client: Client, model: str, baseline_id: str) -> Baseline:
    baseline = load_applied(client, model, baseline_id)
    if baseline is not None:
        return baseline
    raise DistributionError(
        f"The baseline {baseline_id} of the panes of {model} is not applied, so its bins are unknown. Apply it again "
        "with `barograph apply --baseline FILE`."
    )
