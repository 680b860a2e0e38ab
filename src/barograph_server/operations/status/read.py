"""Reads the state of models and processors from ClickHouse, and replays the alert rules for open incidents."""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from barograph.contract.file import parse_contract
from barograph.contract.problems import ContractError

from barograph_server.alerts import AlertsError
from barograph_server.alerts.incidents import Incident
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator.open_incidents import replay_until
from barograph_server.contracts import read_contracts
from barograph_server.errors import CommandError
from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseError
from barograph_server.warehouse.history import event_counts
from barograph_server.warehouse.history.event_counts import ProblemRow
from barograph_server.warehouse.operations import status
from barograph_server.warehouse.operations.status import DriftRow, FreshnessRow, LostRange, ProcessorRow, RateRow
from barograph_server.warehouse.queries import PromotionRow
from barograph_server.warehouse.signals.verdicts import FEW_READINGS, LIKE, UNLIKE

FORGOTTEN_S = 86_400
"""Seconds after which a silent processor is no longer listed: it was removed on purpose."""

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    model: str
    version: str
    """Empty if the model has no prediction yet."""
    freshness: FreshnessRow | None
    """None if the monitor has not processed any event of the model."""
    completeness: float | None
    """The lowest completeness of the latest verdicts; None without verdicts."""
    levels: dict[str, int]
    """Number of latest verdicts per level, of drift and rates, on the slice `all` in windows of the contract."""
    reasons: dict[str, int]
    """Number of `insufficient` verdicts among them per reason, the most frequent first."""
    major: tuple[DriftRow | RateRow, ...]
    """The major ones among these verdicts."""
    undecided: tuple[DriftRow, ...] = ()
    """Those of drift with too few independent readings that are not like training; those unlike it first."""


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    models: tuple[ModelStatus, ...]
    processors: tuple[ProcessorRow, ...]
    losses: tuple[LostRange, ...]
    problems: tuple[ProblemRow, ...] = ()
    """Dead letters, invalid values, unknown classes, and labels that are not measured."""
    promotions: tuple[PromotionRow, ...] = ()
    """The latest promotion of each model that requires evidence."""


def read_status(client: Client, *, drills: bool = False) -> PipelineStatus:
    """Query the state of all models (with `drills`, those of live drills too) and processors."""
    freshness = {(row.model, row.version): row for row in status.freshness(client, drills=drills)}
    versions = set(freshness)
    windows: dict[str, set[str]] = {}
    for contract in queries.contracts(client, drills=drills):
        if not any(model == contract.model for model, _ in versions):
            versions.add((contract.model, ""))
        with suppress(ContractError):
            windows[contract.model] = {window.name for window in parse_contract(contract.yaml, contract.model).windows}
    models = []
    for model in sorted({model for model, _ in versions}):
        latest: list[DriftRow | RateRow] = [*status.latest_drift(client, model), *status.latest_rates(client, model)]
        # Where the contract cannot be read, all windows count.
        own = [row for row in latest if row.window in windows.get(model, {row.window})]
        for version in sorted(version for name, version in versions if name == model):
            verdicts = [row for row in own if row.version == version]
            models.append(_model_status(model, version, freshness.get((model, version)), verdicts))
    return PipelineStatus(
        tuple(models),
        tuple(status.processors(client)),
        tuple(status.lost_ranges(client)),
        tuple(event_counts.problems(client)),
        tuple(queries.latest_promotions(client)),
    )


def is_never(at: datetime) -> bool:
    """Whether a time means "not yet"."""
    return at <= _NEVER


def _reason(row: DriftRow | RateRow) -> str:
    if isinstance(row, DriftRow) and row.shown_level != row.level:
        return f"{row.reason} ({row.shown_level})"
    return row.reason


def _model_status(
    model: str, version: str, freshness: FreshnessRow | None, verdicts: list[DriftRow | RateRow]
) -> ModelStatus:
    counts = Counter(row.level for row in verdicts)
    few = [row for row in verdicts if isinstance(row, DriftRow) and row.reason in FEW_READINGS]
    return ModelStatus(
        model=model,
        version=version,
        freshness=freshness,
        completeness=min((row.completeness for row in verdicts), default=None),
        levels={level: counts[level] for level in LEVEL_NAMES},
        reasons=dict(Counter(map(_reason, filter(lambda row: row.reason, verdicts))).most_common()),
        undecided=tuple(
            sorted((row for row in few if row.shown_level != LIKE), key=lambda row: row.shown_level != UNLIKE)
        ),
        major=tuple(row for row in verdicts if row.level == "major"),
    )


@dataclass(frozen=True, slots=True)
class OpenIncidents:
    """The open incidents, or why they are unknown."""

    incidents: tuple[Incident, ...] = ()
    problem: str = ""


def read_open_incidents(client: Client, settings: AlertSettings) -> OpenIncidents:
    """Replay the rules of each contract, and those of the pipeline, up to now."""
    try:
        contracts = list(read_contracts(client).values())
        replays = replay_until(client, contracts, settings, int(time.time())) if contracts else ()
        incidents = [incident for replay in replays for incident in replay.incidents if incident.is_firing]
    except (AlertsError, CommandError, ContractError, WarehouseError) as error:
        # The rest of the status must not depend on alert settings, or on tables that only alert rules read.
        return OpenIncidents(problem=str(error))
    return OpenIncidents(tuple(sorted(incidents, key=lambda each: (each.opened_at, each.model, each.name))))
