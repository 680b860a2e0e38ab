"""Settings of `barograph run evaluator`: the files of evaluators, and the endpoints of judges."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from barograph.contract.kinds import IntegerKind, NumberKind, TextKind
from barograph.contract.sections import At, EventValue, NamedKind

from barograph_server.streams.errors import ProcessorError
from barograph_server.warehouse.configuration import HttpUrlKind, Setting

_PRICE = NumberKind(0.0, 1e6)


class JudgeEndpoint(msgspec.Struct, frozen=True):
    """An endpoint with OpenAI's API of chat completions."""

    name: str
    model: Annotated[EventValue, "The model.", "NAME"]
    url: Annotated[str, HttpUrlKind("http://HOST:PORT/v1"), "The address of the API.", "http://HOST:PORT/v1"]
    input_price: Annotated[float, At("input"), _PRICE, "US dollars per million input tokens."] = 0.0
    output_price: Annotated[float, At("output"), _PRICE, "US dollars per million output tokens."] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorSettings:
    """The section `evaluator`."""

    folder: Annotated[
        str,
        Setting(
            TextKind(), "the folder with rubrics, schemas and documents that contracts name", default="the current one"
        ),
    ] = "."
    endpoints: Annotated[
        tuple[JudgeEndpoint, ...],
        Setting(
            NamedKind(JudgeEndpoint),
            "endpoints of judges with OpenAI's API, by name: `{NAME: {model, url, input, output}}`, the last two US "
            "dollars per million tokens; in the variable as YAML on one line",
            default="none",
        ),
    ] = ()
    key: Annotated[
        str, Setting(TextKind(), "API key, sent to every endpoint as `Authorization: Bearer`", "", is_secret=True)
    ] = field(default="", repr=False)
    timeout_s: Annotated[
        float, Setting(NumberKind(0.1, 120.0), "longest call of a judge, in seconds, with its retries; at most 120")
    ] = 30.0
    parallel: Annotated[int, Setting(IntegerKind(1, 64), "calls of judges at the same time")] = 4
    lag_s: Annotated[
        float,
        Setting(
            NumberKind(1.0, 86_400.0),
            "age at which an answer is too old for a judge, in seconds since Kafka has it; it waits until then if the "
            "judge does not answer",
        ),
    ] = 21_600.0

    def endpoints_by_name(self) -> dict[str, JudgeEndpoint]:
        """Return the endpoints by name."""
        if not all("!" <= character <= "~" for character in self.key):
            raise ProcessorError("evaluator.key has characters that no key has; copy it again, without spaces.")
        return {endpoint.name: endpoint for endpoint in self.endpoints}


def call_metrics(
    endpoint: JudgeEndpoint, input_tokens: int | None, output_tokens: int | None, calls: int
) -> dict[str, float]:
    """Return the members of `metrics` about the calls of one evaluation."""
    counts = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    metrics = {name: float(count) for name, count in counts.items() if count is not None}
    if metrics and (endpoint.input_price or endpoint.output_price):
        metrics["cost_usd"] = cost_usd(endpoint, metrics)
    return {**metrics, "calls": float(calls)}


def cost_usd(endpoint: JudgeEndpoint, tokens: Mapping[str, float]) -> float:
    """Return what `input_tokens` and `output_tokens` cost, in US dollars."""
    input_usd = tokens.get("input_tokens", 0.0) * endpoint.input_price
    return (input_usd + tokens.get("output_tokens", 0.0) * endpoint.output_price) / 1e6
