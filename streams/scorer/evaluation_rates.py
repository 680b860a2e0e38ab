"""Hourly computation of the rates of faulty answers, for models with evaluators."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from barograph.contract import Contract
from barograph.contract.evaluator_contracts import evaluator_model

from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.scorer.stored_rates import compute_rates, store_rates
from barograph_server.warehouse.client import Client

MIN_INTERVAL_S = 3600.0
"""Shortest interval between the computations of a model. One reads the evaluations of seven days."""
MAX_TIME_SHARE = 0.02
"""Largest share of the time that a model's computations take; slower ones are made less often."""


class EvaluationRateSchedule:
    """Schedules the rates of each model with evaluators. Without new evaluations or labels, nothing is read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s: dict[str, float] = {}
        self._unchanged: dict[str, frozenset[str]] = {}
        """Models whose rates are stored, with the models of their evaluators; none of these has new rows since."""

    def compute_due(self, client: Client, registry: Registry, now_ms: int, changed: Iterable[str]) -> None:
        """Compute the rates that are due and write them.

        Args:
            now_ms: the time of the rates, Unix milliseconds.
            changed: models with new predictions or labels since the last call.
        """
        arrived = set(changed)
        self._unchanged = {model: own for model, own in self._unchanged.items() if not own & arrived}
        for model, contract in sorted(registry.contracts.items()):
            start_s = self._clock()
            own = _evaluator_models(contract)
            if not own or self._unchanged.get(model) == own or start_s < self._next_s.get(model, start_s):
                continue
            at = datetime.fromtimestamp(now_ms // 1000, UTC)
            store_rates(client, compute_rates(client, contract, at))
            self._unchanged[model] = own
            end_s = self._clock()
            self._next_s[model] = end_s + max(MIN_INTERVAL_S, (end_s - start_s) / MAX_TIME_SHARE)


def _evaluator_models(contract: Contract) -> frozenset[str]:
    return frozenset(evaluator_model(contract.model, name) for name in contract.evaluators)
