"""Protection of personal data in predictions from telemetry, as the contract of their model says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from barograph.contract import Contract
from barograph.events import CONTEXT, FEATURES, METRICS
from barograph.publisher.pii import Pii, PiiKeyError, read_key

from streams.registry.registry import Registry


class ContractPrivacy:
    """Hashes, truncates or drops members of maps, like the publisher of a serving system."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        """Start without contracts.

        Args:
            registry: returns the contracts in force.
        """
        self._registry = registry
        self._rules: dict[str, tuple[Contract, Pii, bool]] = {}
        self._log = structlog.get_logger().bind(processor="otlp")

    def protect(self, prediction: Any) -> None:
        """Protect a prediction (`QuickPrediction`) in place; without a contract it does not change."""
        contract = self._registry().contracts.get(prediction.model)
        if contract is None:
            return
        pii, has_key = self._rules_of(contract)
        for map_name in (FEATURES, CONTEXT, METRICS):
            members = getattr(prediction, map_name)
            names = pii.actions(map_name)
            if not members or not names:
                continue
            if has_key:
                members = pii.protect(map_name, members)
            else:
                members = {name: value for name, value in members.items() if name not in names}
            setattr(prediction, map_name, members or None)

    def _rules_of(self, contract: Contract) -> tuple[Pii, bool]:
        known = self._rules.get(contract.model)
        if known is None or known[0] is not contract:
            try:
                key, has_key = read_key(contract), True
            except PiiKeyError as error:
                key, has_key = b"", False
                self._log.warning("protected members are left out", model=contract.model, reason=str(error))
            known = self._rules[contract.model] = contract, Pii(contract, key), has_key
        return known[1], known[2]
