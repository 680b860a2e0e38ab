"""Predictions of entities that have explored predictions, and exposures by week, for `barograph loops`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from barograph_server.warehouse.client import Client, identifier

MAX_ROWS = 1_000_000
"""Predictions that one analysis reads; with more, a random part of the entities is read."""
MAX_EXPOSURES = 50_000
"""Pairs of a week and an item that one analysis reads."""
_MILLION = 1_000_000

_RANGE = "model = {model:String} AND at >= {start:DateTime64(3, 'UTC')} AND at < {end:DateTime64(3, 'UTC')}"
_FLAG = "lower(context['exploration'])"
_PROPENSITY = "ifNull(toFloat64OrNull(context['propensity']), 0.)"
_IS_READABLE = f"({_PROPENSITY} > 0 AND {_PROPENSITY} <= 1)"
_IS_FLAGGED = f"({_FLAG} IN ('true', '1'))"


@dataclass(frozen=True, slots=True)
class LoopPopulation:
    """A model's predictions in a range of event time, by how they are read."""

    predictions: int
    failed: int
    without_entity: int
    """Did not fail, and have no value of the entity."""
    unreadable_exploration: int
    """Did not fail, and `exploration` is not true, false, 1 or 0; they count as not explored."""
    unreadable_propensity: int
    """Did not fail, and `propensity` is not in (0, 1], or missing where `exploration` is true; not explored either."""
    explored: int
    """Did not fail, have an entity, and a readable propensity."""
    last_at_ms: int
    frequent_class: str
    """The most frequent class of explored predictions; empty if they have none."""


class EntityPredictions:
    """The predictions of a model in a range of event time, by entity."""

    def __init__(self, client: Client, model: str, entity: tuple[str, str], start: datetime, end: datetime) -> None:
        """Select predictions.

        Args:
            entity: the column (`context`, `strings` or `numbers`) and the member that name the entity.
        """
        self._client = client
        value = f"{identifier(entity[0])}[{{entity:String}}]"
        self._entity = f"ifNull(toString({value}), '')" if entity[0] == "numbers" else value
        self._is_explored = f"(error = '' AND {self._entity} != '' AND {_IS_FLAGGED} AND {_IS_READABLE})"
        self._parameters: dict[str, Any] = {"model": model, "entity": entity[1], "start": start, "end": end}

    def population(self) -> LoopPopulation:
        """Count the predictions by how they are read."""
        unreadable = f"({_IS_FLAGGED} OR mapContains(context, 'propensity')) AND NOT {_IS_READABLE}"
        [row] = self._client.rows(
            f"SELECT count(), countIf(error != ''), countIf(error = '' AND {self._entity} = ''), "
            f"countIf(error = '' AND {_FLAG} NOT IN ('true', 'false', '1', '0', '')), "
            f"countIf(error = '' AND {unreadable}), countIf({self._is_explored}), "
            f"toUnixTimestamp64Milli(max(at)), topKIf(1)(class, class != '' AND {self._is_explored})[1] "
            f"FROM all_predictions WHERE {_RANGE}",
            self._parameters,
        )
        return LoopPopulation(*row)

    def rows(self, output: str, operand: float | str, numbers: Sequence[str]) -> tuple[pa.Table, float]:
        """Read the predictions of all entities that have an explored one, or of a random part of these entities.

        Args:
            output: `score`, `score>=` or `class=`.
            operand: the threshold or the class.

        Returns:
            Columns `entity` (a hash), `at_ms`, `output` and `propensity` (null if there is none), and `f0`, `f1`, …,
            ordered by entity and time, at most 2 · `MAX_ROWS`; and the share of entities that was read.
        """
        explored = f"SELECT {self._entity} FROM all_predictions WHERE {_RANGE} AND {self._is_explored}"
        source = f"all_predictions WHERE {_RANGE} AND error = '' AND {self._entity} IN ({explored})"
        ((n,),) = self._client.rows(f"SELECT count() FROM {source}", self._parameters)
        share = min(1.0, MAX_ROWS / max(n, 1))
        value = {
            "score": "if(isNaN(score), NULL, score)",
            "score>=": "if(isNaN(score), NULL, toFloat64(score >= {operand:Float64}))",
            "class=": "if(class = '', NULL, toFloat64(class = {operand:String}))",
        }[output]
        names = [identifier(f"f{i}") for i in range(len(numbers))]
        inputs = "".join(f", numbers[{{{name}:String}}] AS {name}" for name in names)
        hashed = f"cityHash64({self._entity})"
        rows = self._client.arrow(
            f"SELECT {hashed} AS hash, toUnixTimestamp64Milli(at) AS at_ms, {value} AS output, "
            f"if({self._is_explored}, {_PROPENSITY}, NULL) AS propensity{inputs} FROM {source} "
            f"AND {hashed} % {_MILLION} < {{limit:UInt64}} ORDER BY hash, at_ms, id LIMIT 1 BY version, id "
            f"LIMIT {2 * MAX_ROWS}",
            {**self._parameters, "operand": operand, "limit": round(share * _MILLION)}
            | dict(zip(names, numbers, strict=True)),
        )
        return rows, share

    def exposures(self, feature: str) -> list[tuple[int, str, int]]:
        """Count predictions by week and value of a text feature, or of the class if it is empty.

        Returns:
            Start of the week in epoch seconds, value, and number, by week; over `MAX_EXPOSURES` rows if it has too
            many values.
        """
        column = "strings[{feature:String}]" if feature else "class"
        return self._client.rows(
            f"SELECT toUnixTimestamp(toDateTime(toMonday(at), 'UTC')) AS week, {column} AS item, count() "
            f"FROM all_predictions WHERE {_RANGE} AND error = '' AND item != '' GROUP BY week, item "
            f"ORDER BY week, item LIMIT {MAX_EXPOSURES + 1}",
            {**self._parameters, "feature": feature},
        )
