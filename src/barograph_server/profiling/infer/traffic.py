"""Infers contract and baseline from the recorded predictions of a model, instead of a training table."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract, Slo, Window
from barograph.contract.check import OUTPUT_TYPES
from barograph.events import CONTEXT, MAPS
from barograph.text.content import ANSWER_HASH, PROMPT_HASH, SAMPLE, TEXT_MEMBERS

from barograph_server.contracts import read_contract
from barograph_server.profiling.infer.errors import TableError
from barograph_server.profiling.infer.infer import DEFAULTS, InferOptions, InferResult, infer_table
from barograph_server.profiling.infer.profile import SCORES_PREFIX, Roles
from barograph_server.profiling.infer.tables import memory_table
from barograph_server.profiling.infer.windows import events_for_a_level
from barograph_server.sketches.drift.rates import wilson
from barograph_server.terminal import iso_utc
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history.recorded_events import recorded_members, recorded_predictions, recorded_versions

_UNREAD = frozenset(
    f"{CONTEXT}.{name}" for name in (*TEXT_MEMBERS, PROMPT_HASH, ANSWER_HASH, SAMPLE, "user", "session")
)
"""Members that become fields only if the contract reads them: texts, and what identifies people."""
_TYPES = {"int": pa.int64(), "bool": pa.bool_()}
_ERROR_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def infer_traffic(
    client: Client,
    model: str,
    *,
    version: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    windows: Sequence[Window] = (),
    on_column: Callable[[str], None] = lambda column: None,
) -> InferResult:
    """Infer contract and baseline from the recorded predictions of a model.

    Failed predictions are left out: they lack what an answer has. The keys of the contract in force stay.

    Args:
        version: By default the one with the most predictions.
        since: First event time; by default all that is recorded.
        until: End of the event time, exclusive; by default now.
        windows: By default those of the contract, or, if it has the default ones, by the traffic.
        on_column: Called with the name of each column before it is read.

    Raises:
        CommandError: the model has no contract in force.
        InferError: too few predictions are recorded, or an option does not fit them.
    """
    contract = read_contract(client, model)
    since, until = since or datetime(1970, 1, 1, tzinfo=UTC), until or datetime.now(UTC)
    versions = recorded_versions(client, model, since, until)
    chosen = version or next(iter(versions), "")
    rows, n = _read(client, contract, chosen, since, until)
    needed = events_for_a_level(0)
    if rows.num_rows < needed:
        named = ", ".join(f"{name} ({n:,})" for name, n in versions.items()) or "none"
        raise TableError(
            f"{model} has {rows.num_rows:,} recorded predictions of version {chosen or 'any'} that did not fail, and a "
            f"baseline needs {needed:,}. Recorded in this range: {named}. Wait for more traffic, or widen the range."
        )
    first, last = pc.min(rows["at"]).as_py(), pc.max(rows["at"]).as_py()
    source = f"recorded predictions of {model} from {iso_utc(first)} to {iso_utc(last)}"
    result = infer_table(memory_table(source, rows), _options(contract, chosen, rows.column_names, windows), on_column)
    warnings = list(result.warnings)
    if contract.slo.error_rate is None:
        slo, warning = _propose_slo(contract, n - rows.num_rows, n)
        result = replace(result, contract=msgspec.structs.replace(result.contract, slo=slo))
        warnings.append(warning)
    others = ", ".join(f"{name} ({n:,})" for name, n in versions.items() if name != chosen)
    if others:
        warnings.append(f"Other versions are compared with this baseline until they have one (--version): {others}.")
    return replace(result, warnings=tuple(warnings))


def _propose_slo(contract: Contract, failed: int, n: int) -> tuple[Slo, str]:
    """Return the SLO with a share of errors that recorded traffic meets, at least the minor threshold of rates."""
    high = max(float(wilson(failed, n)[1]), contract.rate_thresholds.minor)
    share = next((step for step in _ERROR_STEPS if step >= high), None)
    recorded = f"{failed:,} of {n:,} recorded predictions failed"
    if share is None:
        return contract.slo, f"No SLO for errors is proposed: {recorded}. Set slo.error_rate to what you promise."
    text = f"slo.error_rate is set to {share:g}, which this traffic meets: {recorded}."
    return msgspec.structs.replace(contract.slo, error_rate=share), f"{text} Set it to what you promise."


def _read(client: Client, contract: Contract, version: str, since: datetime, until: datetime) -> tuple[pa.Table, int]:
    """Read the predictions that did not fail: the members of events that have values, or that the contract reads.

    Returns:
        The table, and the number of predictions with those that failed.
    """
    fields = {field.source: field for field in contract.fields}
    named = [source for source in contract.sources if source.partition(".")[0] in MAPS]
    ignored = {f"features.{name}" for name in contract.ignored}
    prompt = {f"{CONTEXT}.prompt_name", f"{CONTEXT}.prompt_version"}
    recorded = recorded_members(client, contract.model, version, since, until)
    left_out = _UNREAD | ignored | (prompt if f"{CONTEXT}.prompt" in recorded else set())
    kinds = {name: kind for name, kind in recorded.items() if name in named or name not in left_out}
    members = {
        name: fields[name].type if name in fields else kinds.get(name) for name in dict.fromkeys([*named, *kinds])
    }
    rows = recorded_predictions(client, contract.model, version, members, since, until)
    n = rows.num_rows
    rows = rows.filter(pc.is_null(rows["error"])).drop_columns(["error", "status"])
    unused = [name for name in ("arm", *OUTPUT_TYPES) if name not in contract.sources]
    rows = rows.drop_columns([name for name in unused if rows[name].null_count == rows.num_rows or name == "arm"])
    for i, name in enumerate(rows.column_names):
        kind = _TYPES.get(fields[name].type) if name in fields else None
        if kind is not None and pa.types.is_floating(rows[name].type):
            rows = rows.set_column(i, name, rows[name].cast(kind, safe=False))
    return rows, n


def _options(contract: Contract, version: str, columns: Sequence[str], windows: Sequence[Window]) -> InferOptions:
    if not windows and contract.windows != DEFAULTS.windows:
        windows = contract.windows
    return InferOptions(
        table=Path(),
        model=contract.model,
        version=version,
        roles=Roles(
            id="id",
            time="at",
            score="score" if "score" in columns else None,
            class_="class" if "class" in columns else None,
            latency="latency_ms" if "latency_ms" in columns else None,
            scores=SCORES_PREFIX if any(name.startswith(SCORES_PREFIX) for name in columns) else None,
        ),
        pane_s=contract.pane_s,
        windows=tuple(windows) or None,
        timezone=contract.timezone,
        season=contract.season,
        contract=contract,
        propose_critical=bool({"score", "class"} & {*columns}) and not any(field.critical for field in contract.fields),
    )
