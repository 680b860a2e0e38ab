"""Latencies by hour of the day, rank correlation of scores, and errors by kind, from the histograms of pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from barograph_server.sketches.rollout.exceedances import bucket_histogram, bucket_quantiles
from barograph_server.sketches.rollout.rank_correlation import binned_rank_correlation
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring.pairs import OF_PAIRS

LATENCY_RANKS = (0.5, 0.9, 0.95, 0.99, 0.999)

_FROM_PAIRS = f"FROM shadow_pairs FINAL WHERE {OF_PAIRS} AND slice = 'all'"


@dataclass(frozen=True, slots=True)
class HourLatency:
    """Quantiles of latency in one hour of the day, of the same requests."""

    hour: int
    """Local hour, 0 to 23."""
    pairs: int
    primary: tuple[float, ...]
    """Quantiles at `LATENCY_RANKS` in milliseconds, within 4.4 %."""
    candidate: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PairHistograms:
    """What the histograms of all pairs show."""

    hours: list[HourLatency]
    correlation: float
    """Rank correlation of both versions' scores; NaN without pairs that have them."""
    errors_primary: dict[str, int]
    """Requests by kind of the primary's error."""
    errors_candidate: dict[str, int]
    """Requests by kind of the candidate's error, whether or not the primary answered."""


def read_histograms(client: Client, parameters: Mapping[str, Any]) -> PairHistograms:
    """Read the histograms of all pairs.

    Args:
        parameters: `model`, `candidate`, `of`, `basis` and `zone`, whose hours are used.
    """
    ((of_primary, of_candidate),) = client.rows(
        f"SELECT sumMap(errors_primary), sumMap(errors_candidate) {_FROM_PAIRS}", parameters
    )
    correlation = rank_correlation(client, parameters)
    return PairHistograms(latency_by_hour(client, parameters), correlation, dict(of_primary), dict(of_candidate))


def latency_by_hour(client: Client, parameters: Mapping[str, Any]) -> list[HourLatency]:
    """Return the latency of both versions by local hour of the day, for the hours with pairs that have one."""
    rows = client.rows(
        "SELECT toHour(window_start, {zone:String}) AS hour, sum(timed), sumMap(latencies_primary), "
        f"sumMap(latencies_candidate) {_FROM_PAIRS} GROUP BY hour HAVING sum(timed) > 0 ORDER BY hour",
        parameters,
    )
    return [HourLatency(int(hour), int(pairs), *map(_quantiles, sides)) for hour, pairs, *sides in rows]


def rank_correlation(client: Client, parameters: Mapping[str, Any]) -> float:
    """Return the rank correlation of both versions' scores over all pairs; NaN without any."""
    ((cells,),) = client.rows(f"SELECT sumMap(score_bins) {_FROM_PAIRS}", parameters)
    numbers = list(cells)
    return binned_rank_correlation(
        [number // 1024 for number in numbers], [number % 1024 for number in numbers], list(cells.values())
    )


def _quantiles(counts: Mapping[int, int]) -> tuple[float, ...]:
    return tuple(bucket_quantiles(bucket_histogram(list(counts), list(counts.values())), LATENCY_RANKS).tolist())
