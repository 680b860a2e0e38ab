"""Protection of personal data in predictions from telemetry, as the contract of their model says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from barograph.contract import Contract
from barograph.events import CONTEXT, FEATURES, METRICS
from barograph.publisher.pii import Pii, PiiKeyError, read_key

from barograph_server.streams.registry.registry import Registry

IDENTITIES = ("user", "session")
"""Members of `context` that identify people: only contracts that name them get them."""
MAX_UNKNOWN_MODELS = 100
"""Models without a contract that are logged by name."""


@dataclass(frozen=True, slots=True)
class _Rules:
    contract: Contract
    pii: Pii
    has_key: bool
    unnamed: frozenset[str]
    """Identities that the contract does not name."""


class ContractPrivacy:
    """Hashes, truncates or drops members of maps, like the publisher of a serving system."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        self._registry = registry
        self._rules: dict[str, _Rules] = {}
        self._unknown: set[str] = set()
        self._log = structlog.get_logger().bind(processor="otlp")

    def protect(self, prediction: Any) -> None:
        """Protect a prediction (`QuickPrediction`) in place; without a contract it only loses its identities."""
        contract = self._registry().contracts.get(prediction.model)
        if contract is None:
            self._log_unknown(prediction.model)
            _remove(prediction, IDENTITIES)
            return
        rules = self._rules_of(contract)
        _remove(prediction, rules.unnamed)
        for map_name in (FEATURES, CONTEXT, METRICS):
            members = getattr(prediction, map_name)
            names = rules.pii.actions(map_name)
            if not members or not names:
                continue
            if rules.has_key:
                members = rules.pii.protect(map_name, members)
            else:
                members = {name: value for name, value in members.items() if name not in names}
            setattr(prediction, map_name, members or None)

    def _rules_of(self, contract: Contract) -> _Rules:
        known = self._rules.get(contract.model)
        # Another contract's change makes new objects of all contracts.
        if known is None or (known.contract is not contract and known.contract != contract):
            try:
                key, has_key = read_key(contract), True
            except PiiKeyError as error:
                key, has_key = b"", False
                self._log.warning("protected members are left out", model=contract.model, reason=str(error))
            known = self._rules[contract.model] = _Rules(contract, Pii(contract, key), has_key, _unnamed(contract))
        return known

    def _log_unknown(self, model: str) -> None:
        if model not in self._unknown and len(self._unknown) < MAX_UNKNOWN_MODELS:
            self._unknown.add(model)
            self._log.warning(
                "predictions of a model without a contract become dead letters: apply one, or map the application's "
                "name with otlp.models",
                model=model,
            )


def _remove(prediction: Any, names: frozenset[str] | tuple[str, ...]) -> None:
    context = prediction.context
    if context and any(name in context for name in names):
        prediction.context = {name: value for name, value in context.items() if name not in names} or None


def _unnamed(contract: Contract) -> frozenset[str]:
    """Return the identities that neither a field, a slice, the arms nor `user` of the contract read."""
    sources = {*contract.sources, contract.user}
    if contract.arms is not None:
        sources.add(contract.arms.unit)
    return frozenset(name for name in IDENTITIES if f"{CONTEXT}.{name}" not in sources)
