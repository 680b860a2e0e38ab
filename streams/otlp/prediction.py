"""Model calls → predictions of the topic `predictions`."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from barograph.values import QuickPrediction

from barograph_server.streams.otlp.contract_privacy import IDENTITIES
from barograph_server.streams.otlp.conventions import Conventions
from barograph_server.streams.otlp.model_call import ESTIMATED, ModelCall
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.otlp.span import NS_PER_MS
from barograph_server.streams.otlp.values import is_name
from barograph_server.warehouse.scoring.arms import REFUSALS

CONTEXT_NAMES = (
    *("provider", "operation", "request_model", "service_tier", "prompt_name", "prompt_version", "tool", "agent"),
    *IDENTITIES,
)
"""Meanings that become members of `context` under the same name."""


class PredictionMapper:
    """Makes predictions of model calls."""

    def __init__(self, conventions: Conventions, otlp: OtlpSettings) -> None:
        units = {name: each.unit for name, each in conventions.meanings.items()} | {"ttft_ms" + ESTIMATED: "s"}
        estimated = {name: name + ESTIMATED for name, unit in units.items() if unit in ("token", "USD")}
        self._metric_names = {name: name for name, unit in units.items() if unit}
        """Meaning → metric."""
        self._estimated_names = self._metric_names | estimated
        """The same for a call whose tokens the instrumentation counted."""
        self._models, self._model_attribute = otlp.model_names(), otlp.model_attribute
        self._last: tuple[Mapping[str, str], str | None] = ({}, None)
        """The last resource and its model: calls of one resource arrive together."""

    def model(self, call: ModelCall) -> str | None:
        """Return the name of a call's model in Barograph; None if it has none."""
        if call.kind == "generations":
            name = self.model_of(call.scope.resource)
            return name and name + call.suffix
        return self._models.get(f"{self.application(call.scope.resource)}/{call.kind}")

    def application(self, resource: Mapping[str, str]) -> str | None:
        """Return the name of a resource's application; None if it has none."""
        return resource.get(self._model_attribute)

    def model_of(self, resource: Mapping[str, str]) -> str | None:
        """Return the name of a resource's model in Barograph; None if the resource does not name the application."""
        if self._last[0] is not resource:
            name = self.application(resource)
            self._last = resource, self._models.get(name, name) if name and is_name(name) else None
        return self._last[1]

    def prediction(self, model: str, call: ModelCall, producer: str | None, seq: int | None) -> Any:
        """Return the event (`QuickPrediction`) of a model call, with the producer's id and its number `seq`."""
        values = call.values
        return QuickPrediction(
            model,
            call.version,
            call.event_id,
            call.start_ns // NS_PER_MS,
            values.get("arm", call.scope.resource.get("barograph.arm")),
            self._context(call),
            (call.observed.features or None) if call.observed is not None else None,
            None,
            None,
            None,
            self._metrics(call) or None,
            call.latency_ms,
            values.get("finish_reasons"),
            call.error,
            None,
            producer,
            seq,
        )

    def _context(self, call: ModelCall) -> dict[str, str]:
        values = call.values
        context = {name: values[name] for name in CONTEXT_NAMES if name in values}
        if "prompt_name" in context or "prompt_version" in context:
            prompt = (context[name] for name in ("prompt_name", "prompt_version") if name in context)
            context["prompt"] = "@".join(prompt)
        if "is_stream" in values:
            context["stream"] = "true" if values["is_stream"] else "false"
        if is_name(call.scope.name):
            context["instrumentation"] = call.scope.name
        if call.observed is not None:
            context.update(call.observed.context)
        return context

    def _metrics(self, call: ModelCall) -> dict[str, float]:
        values = call.values
        names = self._estimated_names if call.tokens_estimated else self._metric_names
        metrics: dict[str, float] = {names[name]: value for name, value in values.items() if name in names}
        reasons = values.get("finish_reasons")
        if reasons is not None:
            metrics["refused"] = _is_refused(reasons)
        metrics.update(call.chars)
        is_estimated = call.tokens_estimated or "ttft_ms" not in values
        ttft_ms, tokens = values.get("ttft_ms", values.get("ttft_ms" + ESTIMATED)), values.get("output_tokens")
        if ttft_ms is not None and call.latency_ms is not None and tokens is not None and tokens > 1:
            name = "time_per_output_token_ms"
            per_token_ms = max(0.0, call.latency_ms - ttft_ms) / (tokens - 1)
            metrics[name + ESTIMATED if is_estimated else name] = per_token_ms
        return metrics


@lru_cache(maxsize=1024)
def _is_refused(finish_reasons: str) -> float:
    return float(any(each.strip().lower() in REFUSALS for each in finish_reasons.split(",")))
