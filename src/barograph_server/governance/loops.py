"""Reads explored predictions and exposures of a model, and measures its loop."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from barograph.contract import NUMERIC_TYPES, Contract, Field

from barograph_server.contracts import hint
from barograph_server.errors import CommandError
from barograph_server.sketches.loops.diversity import Diversity, diversity
from barograph_server.sketches.loops.measure import LoopMeasurement, LoopRows, measure_loop
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.explored_predictions import (
    MAX_EXPOSURES,
    MAX_ROWS,
    EntityPredictions,
    LoopPopulation,
)

_WEEK_S = 604_800


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """What the command line requests."""

    entity: str
    lag_s: int
    start: datetime
    end: datetime
    fields: tuple[str, ...]
    output: str | None
    items: str


@dataclass(frozen=True, slots=True)
class Exposures:
    """The diversity of items by week."""

    items: int
    weeks: tuple[datetime, ...]
    exposures: tuple[int, ...]
    diversity: Diversity


@dataclass(frozen=True, slots=True)
class LoopReport:
    model: str
    options: LoopOptions
    output: str
    population: LoopPopulation
    rows_read: int
    """Predictions of entities with an explored one."""
    share_read: float
    """Share of these entities that was read."""
    measurement: LoopMeasurement
    exposures: Exposures | None
    """None without items, or with too many."""


def read_report(client: Client, contract: Contract, options: LoopOptions) -> LoopReport:
    entity = _entity_column(contract, options.entity)
    predictions = EntityPredictions(client, contract.model, entity, options.start, options.end)
    population = predictions.population()
    if not population.predictions:
        raise CommandError(f"ClickHouse has no raw predictions of {contract.model} since {options.start:%Y-%m-%d}.")
    if population.failed + population.without_entity == population.predictions:
        raise CommandError(f"No prediction that succeeded has a value of --entity {options.entity}; check the name.")
    kind, operand = _output(options.output, population.frequent_class)
    inputs = _inputs(contract, options.fields)
    keys = [field.source.removeprefix("features.") for field in inputs]
    table, share = predictions.rows(kind, operand, keys)
    if table.num_rows >= 2 * MAX_ROWS:
        raise CommandError(
            f"A few entities of {options.entity} have more than {MAX_ROWS:,} predictions; shorten --since, or choose "
            "an --entity with fewer predictions each."
        )
    numbers = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names[2:]}
    rows = LoopRows(
        np.unique(table["hash"].to_numpy(), return_inverse=True)[1].astype(np.int64),
        table["at_ms"].to_numpy().astype(np.int64),
        numbers["output"],
        numbers["propensity"],
        {field.name: numbers[f"f{i}"] for i, field in enumerate(inputs)},
    )
    measurement = measure_loop(rows, options.lag_s * 1000, population.last_at_ms + 1, is_class=kind != "score")
    exposures = _exposures(predictions.exposures(options.items))
    return LoopReport(
        contract.model, options, f"{kind}{operand}", population, len(rows.at_ms), share, measurement, exposures
    )


def _entity_column(contract: Contract, entity: str) -> tuple[str, str]:
    """Return the column and the member that hold the entity: of a field of the contract, context.NAME, or a feature."""
    field = next((field for field in contract.fields if entity == field.name), None)
    source = field.source if field is not None else entity.replace("context:", "context.", 1)
    if source.startswith("context."):
        return "context", source.removeprefix("context.")
    is_number = field is not None and field.type in NUMERIC_TYPES
    return "numbers" if is_number else "strings", source.removeprefix("features.")


def _inputs(contract: Contract, names: tuple[str, ...]) -> list[Field]:
    known = {f.name: f for f in contract.fields if f.type in NUMERIC_TYPES and f.source.startswith("features.")}
    for name in names:
        if name not in known:
            raise CommandError(f"--field {name} is no numeric feature of {contract.model}{hint(name, known)}")
    return [known[name] for name in names or known]


def _output(option: str | None, frequent_class: str) -> tuple[str, float | str]:
    if option is None:
        return ("class=", frequent_class) if frequent_class else ("score", "")
    if option.startswith("class=") and option != "class=":
        return "class=", option.removeprefix("class=")
    try:
        threshold = 0.0 if option == "score" else float(option.removeprefix("score>="))
        if not math.isfinite(threshold):
            raise ValueError
        return ("score", "") if option == "score" else ("score>=", threshold)
    except ValueError:
        raise CommandError(f"--output {option}: write class=NAME, score>=NUMBER or score.") from None


def _exposures(rows: list[tuple[int, str, int]]) -> Exposures | None:
    if not rows or len(rows) > MAX_EXPOSURES:
        return None
    starts, names, counts = (np.array(column) for column in zip(*rows, strict=True))
    items, item = np.unique(names, return_inverse=True)
    week = (starts - starts[0]) // _WEEK_S
    table = np.zeros((int(week[-1]) + 1, len(items)), np.int64)
    table[week, item] = counts
    weeks = tuple(datetime.fromtimestamp(int(starts[0]) + i * _WEEK_S, UTC) for i in range(len(table)))
    return Exposures(len(items), weeks, tuple(table.sum(axis=1).tolist()), diversity(table))
