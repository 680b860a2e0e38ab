"""The cost of predictions from telemetry, at the prices of the contract of their model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from barograph.pricing import cost

from barograph_server.streams.registry.registry import Registry

COST = "cost_usd"
TOKEN_METRICS = (
    *("input_tokens", "output_tokens", "cached_input_tokens"),
    *("cache_write_input_tokens", "reasoning_output_tokens"),
)


class ContractCosts:
    """Adds the cost to predictions whose instrumentation reports none."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        """Start without contracts.

        Args:
            registry: returns the contracts in force.
        """
        self._registry = registry

    def add_cost(self, prediction: Any) -> None:
        """Set `metrics.cost_usd` of a prediction (`QuickPrediction`) in place.

        It does not change if it has a cost, if no price matches, or if tokens that have a price were not observed.
        Tokens that an instrumentation estimated have other names, so that no cost is computed from them.
        """
        contract = self._registry().contracts.get(prediction.model)
        metrics = prediction.metrics
        if contract is None or not contract.prices or not metrics or COST in metrics:
            return
        tokens = {name: metrics[name] for name in TOKEN_METRICS if name in metrics}
        at = datetime.fromtimestamp(prediction.at / 1000, UTC)
        price = cost(contract, prediction.version, **tokens, at=at)
        if price is not None:
            prediction.metrics = {**metrics, COST: price}
