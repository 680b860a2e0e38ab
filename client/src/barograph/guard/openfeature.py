"""Guards as a provider of OpenFeature: the state of a model drives a feature flag.

Needs the extra `openfeature`. For a model `M` there are two flags:

| flag | type | value |
|---|---|---|
| `M.uses_primary` | boolean | false while the fallback answers |
| `M.state` | string | `healthy`, `degraded` or `unknown` |

Flags of other types and other models give the default value, with an error that OpenFeature defines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import FlagNotFoundError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from barograph.guard.guard import Guard, HealthChange

T = TypeVar("T")

USES_PRIMARY, STATE = "uses_primary", "state"


class GuardProvider(AbstractProvider):
    """Answers from the attributes of guards, without I/O."""

    def __init__(self, guards: Iterable[Guard]) -> None:
        """Serve the flags of guards, one per model, and announce their changes to OpenFeature."""
        super().__init__()
        self._guards = {guard.model: guard for guard in guards}
        for guard in self._guards.values():
            guard.on_change(self._announce)

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return Metadata("barograph")

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Resolve `M.uses_primary`."""
        guard, flag = self._find(flag_key)
        if flag != USES_PRIMARY:
            raise TypeMismatchError(f"{flag_key} is no boolean flag")
        return _details(guard, not guard.uses_fallback)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Resolve `M.state`."""
        guard, flag = self._find(flag_key)
        if flag != STATE:
            raise TypeMismatchError(f"{flag_key} is no string flag")
        return _details(guard, str(guard.state))

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Raise: no flag is an integer."""
        raise self._mismatch(flag_key)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Raise: no flag is a number."""
        raise self._mismatch(flag_key)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Raise: no flag is an object."""
        raise self._mismatch(flag_key)

    def _find(self, flag_key: str) -> tuple[Guard, str]:
        model, _, flag = flag_key.rpartition(".")
        guard = self._guards.get(model)
        if guard is None or flag not in (USES_PRIMARY, STATE):
            raise FlagNotFoundError(f"{flag_key} is no flag of a model that has a guard here")
        return guard, flag

    def _mismatch(self, flag_key: str) -> TypeMismatchError:
        self._find(flag_key)
        return TypeMismatchError(f"{flag_key} is neither a number nor an object")

    def _announce(self, change: HealthChange) -> None:
        if hasattr(self, "_on_emit"):
            flags = [f"{change.model}.{flag}" for flag in (USES_PRIMARY, STATE)]
            self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=flags))


def _details(guard: Guard, value: T) -> FlagResolutionDetails[T]:
    reasons = ", ".join(f"{each.rule} {each.field}".strip() for each in guard.reasons)
    metadata: dict[str, Any] = {"state": guard.state, "reasons": reasons}
    reason = Reason.STALE if guard.state == "unknown" else Reason.DEFAULT
    return FlagResolutionDetails(value, variant=guard.state, reason=reason, flag_metadata=metadata)
