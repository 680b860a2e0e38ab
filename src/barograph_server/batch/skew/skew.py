"""`skew` for notebooks and the command: a file or a model's predictions in ClickHouse, and a file of training."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from barograph.contract import Contract

from barograph_server.batch.check import ContractOrPath, contract_of
from barograph_server.batch.skew.compare import SkewOptions, SkewReport, compare
from barograph_server.batch.skew.sources import CLICKHOUSE, ProductionSource, SkewError, open_file, open_production
from barograph_server.contracts import read_contract
from barograph_server.profiling.table_columns import with_columns
from barograph_server.settings import SettingsOrPath, open_settings
from barograph_server.sketches.skew.numbers import TOLERANCE
from barograph_server.times import parse_range
from barograph_server.warehouse.client import connect


def skew(
    served: str | Path,
    recomputed: str | Path,
    *,
    contract: ContractOrPath | None = None,
    on: str | None = None,
    fields: Sequence[str] = (),
    by: Sequence[str] = (),
    time: str | None = None,
    underlying: Mapping[str, str] | None = None,
    begin: str | None = None,
    end: str | None = None,
    tolerance: float = TOLERANCE,
    settings: SettingsOrPath = None,
    on_field: Callable[[str], None] = lambda name: None,
) -> SkewReport:
    """Compare served features with those that training computes, and explain differences.

    Args:
        served: a Parquet, CSV or Arrow file, or `clickhouse:MODEL[@VERSION]`.
        recomputed: the file of features that training computes for the same ids.
        contract: the contract, or the path of its file; determines types and personal data.
        on: the column of ids; by default that of the contract's `columns`, or `id`.
        fields: the fields to compare; empty for all.
        by: columns of the entity, to detect lags and windows.
        time: the column of the time, to detect lags and windows; with `by` that of the contract's `columns`.
        underlying: field → the column that it aggregates.
        begin: the start of the event times, for `clickhouse:`.
        end: their end, exclusive.
        tolerance: the largest relative difference of equal numbers.
        settings: the settings, or their file, for `clickhouse:`.

    Raises:
        ContractError, InferError, SettingsError: the contract, a file or the settings cannot be read.
    """
    model_contract = None if contract is None else contract_of(contract)
    if model_contract is not None:
        # The file's column of ids is read as the member `id`.
        model_contract, on = with_columns(model_contract, id=on), None
        time = time or (model_contract.columns.time or None if by else None)
    if not 0.0 <= tolerance < 1.0:
        raise SkewError(f"--tolerance {tolerance:g}: write a number of at least 0 and below 1, such as 1e-6.")
    options = SkewOptions(
        on=on or "id", by=tuple(by), time=time, underlying=underlying or {}, only=tuple(fields), tolerance=tolerance
    )
    recomputed = Path(recomputed)
    if isinstance(served, Path) or not served.startswith(CLICKHOUSE):
        if begin is not None or end is not None:
            raise SkewError(f"--from and --to are for {CLICKHOUSE}MODEL; a file is always compared whole.")
        with (
            open_file(Path(served), options.on, model_contract, options.named_columns) as left,
            open_file(recomputed, options.on, model_contract, options.named_columns) as right,
        ):
            return compare(left, right, model_contract, options, on_field)
    if begin is None or end is None:
        raise SkewError(f"--served {served} needs --from and --to, the range of event times.")
    production = ProductionSource.parse(served, *parse_range(begin, end))
    return _compare_production(production, recomputed, model_contract, options, settings, on_field)


def _compare_production(
    production: ProductionSource,
    recomputed: Path,
    contract: Contract | None,
    options: SkewOptions,
    settings: SettingsOrPath,
    on_field: Callable[[str], None],
) -> SkewReport:
    with ExitStack() as stack:
        client = stack.enter_context(connect(open_settings(settings, needs=("clickhouse",)).warehouse))
        model_contract = contract or read_contract(client, production.model)
        if options.on != "id":
            model_contract, options = with_columns(model_contract, id=options.on), replace(options, on="id")
        right = stack.enter_context(open_file(recomputed, options.on, model_contract, options.named_columns))
        left = stack.enter_context(open_production(client, production, model_contract, right))
        return compare(left, right, model_contract, replace(options, is_production=True), on_field)
