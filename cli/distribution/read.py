"""Find what is asked for in ClickHouse: contract, baseline, and the panes of a range."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from barograph.contract import Contract
from barograph.contract.file import parse_contract

from cli.errors import CommandError
from sketches.baseline.baseline import ALL, Baseline, load_baseline
from sketches.baseline.layout import Layout
from warehouse.client import Client
from warehouse.distribution import CountedRange, counted_ranges, pane_rows
from warehouse.queries import baselines, contracts


class DistributionError(CommandError):
    """There is nothing to show; the text says what there is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for; times are Unix seconds."""

    model: str
    field: str
    start_s: int
    end_s: int
    version: str | None = None
    slice_name: str = ALL


@dataclass(frozen=True, slots=True)
class Counted:
    """What was found of it."""

    asked: Asked
    version: str
    baseline_id: str
    contract: Contract
    layout: Layout
    slice_index: int
    field_index: int
    panes: pa.Table
    """As `warehouse.distribution.pane_rows` returns them; at least one."""


def read_counted(client: Client, asked: Asked) -> Counted:
    """Read the panes of a range, with the contract and the baseline that they are judged by.

    Raises:
        DistributionError: there is no such model, version, slice or field, or nothing was counted in the range.
    """
    contract = _contract(client, asked.model)
    span = _span(counted_ranges(client, asked.model, asked.start_s, asked.end_s), asked)
    baseline = _baseline(client, asked.model, span.baseline_id)
    layout = Layout(baseline)
    if asked.field not in layout.field_index:
        raise DistributionError(
            f"Nothing is counted of a field {asked.field!r} of {asked.model}{_meant(asked.field, layout.field_index)}"
        )
    if asked.slice_name not in layout.slices:
        raise DistributionError(
            f"{asked.model} has no slice {asked.slice_name!r}{_meant(asked.slice_name, layout.slices)}"
        )
    panes = pane_rows(
        client,
        asked.model,
        span.version,
        span.baseline_id,
        asked.slice_name,
        asked.field,
        asked.start_s,
        asked.end_s,
        # Hours of the week are told apart by hours.
        days=contract.season == "none",
    )
    if panes.num_rows == 0:
        held = f"the slice {asked.slice_name} of {asked.field}" if asked.slice_name != ALL else asked.field
        raise DistributionError(
            f"Nothing was counted of {held} from {moment(asked.start_s)} to {moment(asked.end_s)}; {asked.model} "
            f"{span.version} was counted from {moment(span.start_s)} to {moment(span.end_s)}."
        )
    return Counted(
        asked,
        span.version,
        span.baseline_id,
        contract,
        layout,
        layout.slices.index(asked.slice_name),
        layout.field_index[asked.field],
        panes,
    )


def moment(seconds: float) -> str:
    """Write a time as people ask for it: `2026-03-01T12:00:00Z`, without seconds where they are 0."""
    when = datetime.fromtimestamp(seconds, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%SZ}" if when.second else f"{when:%Y-%m-%dT%H:%MZ}"


def _contract(client: Client, model: str) -> Contract:
    rows = {row.model: row for row in contracts(client)}
    if model not in rows:
        raise DistributionError(f"ClickHouse at {client.where} has no contract of {model!r}{_meant(model, rows)}")
    return parse_contract(rows[model].yaml, f"contract of {model}")


def _span(spans: Sequence[CountedRange], asked: Asked) -> CountedRange:
    """The one version and baseline that the range is about."""
    if not spans:
        raise DistributionError(f"Nothing of {asked.model} has been counted yet; `barograph status` shows how it is.")
    if asked.version is not None:
        own = [span for span in spans if span.version == asked.version]
        if not own:
            known = dict.fromkeys(span.version for span in spans)
            raise DistributionError(
                f"{asked.model} has no version {asked.version!r} that was counted{_meant(asked.version, known)}"
            )
        spans = own
    inside = [span for span in spans if span.overlapping]
    if not inside:
        told = "; ".join(
            f"version {span.version} from {moment(span.start_s)} to {moment(span.end_s)}" for span in spans[:5]
        )
        raise DistributionError(
            f"Nothing of {asked.model} was counted from {moment(asked.start_s)} to {moment(asked.end_s)}. Counted is "
            f"{told}."
        )
    versions = list(dict.fromkeys(span.version for span in inside))
    if len(versions) > 1:
        raise DistributionError(
            f"In that range several versions of {asked.model} were counted: {', '.join(versions)}. Choose one with "
            "--version."
        )
    if len(inside) > 1:
        told = "; ".join(f"{span.baseline_id} from {moment(span.start_s)} to {moment(span.end_s)}" for span in inside)
        raise DistributionError(
            f"In that range {asked.model} {versions[0]} was counted on several baselines: {told}. Their bins differ: "
            "ask for a range within one."
        )
    return inside[0]


def _baseline(client: Client, model: str, baseline_id: str) -> Baseline:
    for row in baselines(client, model):
        if row.baseline_id == baseline_id:
            return load_baseline(row.body.encode(), f"baseline {baseline_id} of {model}")
    raise DistributionError(
        f"The baseline {baseline_id} that {model} was counted on is not among the applied ones, so nothing is known "
        "of its bins. Apply it again with `barograph apply --baseline FILE`."
    )


def _meant(name: str, known: Iterable[str]) -> str:
    """Say what may have been meant, or what there is; the end of a sentence."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"; known are {shown}." if names else "; none is known."
