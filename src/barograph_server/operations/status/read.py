"""Reads the state of models and processors from ClickHouse."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history import event_counts
from barograph_server.warehouse.history.event_counts import ProblemRow
from barograph_server.warehouse.operations import status
from barograph_server.warehouse.operations.status import DriftRow, FreshnessRow, LostRange, ProcessorRow, RateRow
from barograph_server.warehouse.queries import PromotionRow

FORGOTTEN_S = 86_400
"""Seconds after which a silent processor is no longer listed: it was removed on purpose."""

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The state of one version of a model."""

    model: str
    version: str
    """Empty if the model has no prediction yet."""
    freshness: FreshnessRow | None
    """None if the monitor has not processed any event of the model."""
    completeness: float | None
    """The lowest completeness of the latest verdicts; None without verdicts."""
    levels: dict[str, int]
    """Number of latest verdicts on the slice `all` per level, of drift and rates together."""
    reasons: dict[str, int]
    """Number of `insufficient` verdicts among them per reason, the most frequent first."""
    major: tuple[DriftRow | RateRow, ...]
    """The major ones among these verdicts."""


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """The state of all models and processors."""

    models: tuple[ModelStatus, ...]
    processors: tuple[ProcessorRow, ...]
    losses: tuple[LostRange, ...]
    problems: tuple[ProblemRow, ...] = ()
    """Dead letters, invalid values, unknown classes, and labels that are not measured."""
    promotions: tuple[PromotionRow, ...] = ()
    """The latest promotion of each model that requires evidence."""


def read_status(client: Client, *, drills: bool = False) -> PipelineStatus:
    """Query the state of all models and processors.

    Args:
        drills: whether models of live drills are included.
    """
    freshness = {(row.model, row.version): row for row in status.freshness(client, drills=drills)}
    versions = set(freshness)
    for contract in queries.contracts(client, drills=drills):
        if not any(model == contract.model for model, _ in versions):
            versions.add((contract.model, ""))
    models = []
    for model in sorted({model for model, _ in versions}):
        drift, rates = status.latest_drift(client, model), status.latest_rates(client, model)
        for version in sorted(version for name, version in versions if name == model):
            verdicts: list[DriftRow | RateRow] = [row for row in drift if row.version == version]
            verdicts += [row for row in rates if row.version == version]
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


def _model_status(
    model: str, version: str, freshness: FreshnessRow | None, verdicts: list[DriftRow | RateRow]
) -> ModelStatus:
    counts = Counter(row.level for row in verdicts)
    return ModelStatus(
        model=model,
        version=version,
        freshness=freshness,
        completeness=min((row.completeness for row in verdicts), default=None),
        levels={level: counts[level] for level in LEVEL_NAMES},
        reasons=dict(Counter(row.reason for row in verdicts if row.reason).most_common()),
        major=tuple(row for row in verdicts if row.level == "major"),
    )
