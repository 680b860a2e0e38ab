"""Settings of `barograph run evaluator`: the files of evaluators, and the endpoints of judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from barograph.contract.kinds import IntegerKind, NumberKind, TextKind

from barograph_server.streams.errors import ProcessorError
from barograph_server.warehouse.configuration import Setting


@dataclass(frozen=True, slots=True)
class JudgeEndpoint:
    """An endpoint with OpenAI's API of chat completions."""

    name: str
    model: str
    url: str
    """Of the API, such as `http://127.0.0.1:8080/v1`."""
    input_price: float = 0.0
    """US dollars per million input tokens."""
    output_price: float = 0.0
    """US dollars per million output tokens."""


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
        str,
        Setting(
            TextKind(),
            "endpoints of judges with OpenAI's API: `NAME=MODEL@URL, …`; the prices of input and output, in US dollars "
            "per million tokens, may follow: `NAME=MODEL@URL#0.15/0.6`",
            default="empty",
        ),
    ] = ""
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
            NumberKind(1.0, 86_400.0), "age at which an answer is too old for a judge, in seconds since Kafka has it"
        ),
    ] = 300.0

    def parsed_endpoints(self) -> dict[str, JudgeEndpoint]:
        if not all("!" <= character <= "~" for character in self.key):
            raise ProcessorError("evaluator.key has characters that no key has; copy it again, without spaces.")
        endpoints: dict[str, JudgeEndpoint] = {}
        for entry in filter(None, map(str.strip, self.endpoints.split(","))):
            endpoint = _endpoint(entry)
            if endpoint.name in endpoints:
                raise ProcessorError(f"evaluator.endpoints: {endpoint.name} is listed twice; remove one.")
            endpoints[endpoint.name] = endpoint
        return endpoints


def _endpoint(entry: str) -> JudgeEndpoint:
    name, equals, rest = map(str.strip, entry.partition("="))
    model, at, url = rest.partition("@http")
    url, _, prices = f"http{url}".partition("#")
    # The entry may hold a password, so that no message shows more than the name.
    if not (name and equals and model and at):
        raise ProcessorError("evaluator.endpoints: an entry is not NAME=MODEL@URL; write commas between entries.")
    what = f"evaluator.endpoints: the entry of {name!r}"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError as error:
        raise ProcessorError(f"{what} has no valid address: {error}. Write http://HOST:PORT/v1.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ProcessorError(f"{what} has no address of http or https without user and password.")
    input_price, output_price = _prices(what, prices)
    return JudgeEndpoint(name, model, url.rstrip("/"), input_price, output_price)


def _prices(what: str, text: str) -> tuple[float, float]:
    if not text:
        return 0.0, 0.0
    try:
        values = [float(part) for part in text.split("/")]
    except ValueError:
        values = []
    if len(values) != 2 or not all(0 <= value <= 1e6 for value in values):
        raise ProcessorError(f"{what} has no prices after #; write the prices of input and output, such as #0.15/0.6.")
    return values[0], values[1]


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
