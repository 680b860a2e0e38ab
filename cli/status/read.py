"""Reads how everything is, and reckons what people ask first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from sketches.baseline.levels import LEVEL_NAMES
from warehouse import queries, status
from warehouse.client import Client
from warehouse.status import DriftRow, FreshnessRow, LostRange, ProcessorRow, RateRow

SILENT_S = 30
"""A processor reports every 10 s; without three reports it is gone."""
FORGOTTEN_S = 86_400
"""A processor that has been silent for longer has been taken away for good."""

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How one version of a model is."""

    model: str
    version: str
    """Empty where the model has no prediction yet."""
    freshness: FreshnessRow | None
    """None where the monitor has not read anything of the model yet."""
    completeness: float | None
    """The least of its last verdicts; None where there is none."""
    levels: dict[str, int]
    """How many of the last verdicts on the slice `all` are of each level, drift and rates together."""
    major: tuple[DriftRow | RateRow, ...]
    """Those that are major."""


@dataclass(frozen=True, slots=True)
class Status:
    """How everything is."""

    models: tuple[ModelStatus, ...]
    processors: tuple[ProcessorRow, ...]
    losses: tuple[LostRange, ...]


def read_status(client: Client) -> Status:
    """Ask ClickHouse how everything is.

    Raises:
        WarehouseBusy: it cannot answer now.
        WarehouseError: it refuses.
    """
    fresh = {(row.model, row.version): row for row in status.freshness(client)}
    known = set(fresh)
    for contract in queries.contracts(client):
        if not any(model == contract.model for model, _ in known):
            known.add((contract.model, ""))
    models = []
    for model in sorted({model for model, _ in known}):
        drift, rates = status.latest_drift(client, model), status.latest_rates(client, model)
        for version in sorted(version for name, version in known if name == model):
            verdicts: list[DriftRow | RateRow] = [row for row in drift if row.version == version]
            verdicts += [row for row in rates if row.version == version]
            models.append(_model(model, version, fresh.get((model, version)), verdicts))
    return Status(tuple(models), tuple(status.processors(client)), tuple(status.lost_ranges(client)))


def is_silent(processor: ProcessorRow) -> bool:
    """Whether a processor has stopped reporting."""
    return processor.silent_s > SILENT_S


def never(moment: datetime) -> bool:
    """Whether a time stands for "not yet"."""
    return moment <= _NEVER


def _model(model: str, version: str, fresh: FreshnessRow | None, verdicts: list[DriftRow | RateRow]) -> ModelStatus:
    counted = Counter(row.level for row in verdicts)
    return ModelStatus(
        model=model,
        version=version,
        freshness=fresh,
        completeness=min((row.completeness for row in verdicts), default=None),
        levels={level: counted[level] for level in LEVEL_NAMES},
        major=tuple(row for row in verdicts if row.level == "major"),
    )
