"""Spans → model calls: which span is a call of a language model, and what it measured.

A value has three states: a number, zero, or not observed, which is the absence of its name. A value that cannot be
read counts as not observed, with a reason.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
from barograph.pricing import ORDINARY_TIERS
from barograph.text.features import ObservedText

from barograph_server.streams.otlp.conventions import Conventions, Evidence, Kind, ScopeTrust
from barograph_server.streams.otlp.rejection import SpanOutcome, SpanReason, ValueReason
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.otlp.span import NS_PER_MS, OTHER, InstrumentationScope, Span, SpanText
from barograph_server.streams.otlp.values import (
    MAX_DURATION_MS,
    MAX_TEXT_CHARS,
    MAX_TOKENS,
    UnreadableValue,
    is_name,
    member_of,
    read_known_text,
    read_model,
    read_value,
)

MAX_UNLISTED = 200
"""Scopes, and operations, without an entry in the table that are counted by name; further ones count as `other`."""
MAX_ROUTES = 10_000
"""Routes whose last version is remembered."""
_TEXTS = ("name", "title", "model")
"""Forms of which an empty text means that there is none: OpenLIT writes one for each unset option."""
ESTIMATED = "_estimated"
"""Suffix of a number that the instrumentation computed by itself. Contracts do not name it unless the user wants it."""
AUDIO = ("input_audio_tokens", "output_audio_tokens")
PARTS = (
    ("input_tokens", ("cached_input_tokens", "cache_write_input_tokens")),
    ("input_tokens", AUDIO[:1]),
    ("output_tokens", ("reasoning_output_tokens",)),
    ("output_tokens", AUDIO[1:]),
)
"""A count, and those of its parts that exclude each other."""
STEP_CONTEXT = ("user", "session", "arm")
"""What the call of a tool or an agent says, besides its name."""
STEP_VERSION = "1"
STEP_SUFFIXES = ".tools", ".agents"
UNKNOWN_ERROR = "unknown"
"""The kind of error of a call that failed and does not name one."""


class ModelCall(msgspec.Struct, gc=False):
    """One call of a language model."""

    scope: InstrumentationScope
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    start_ns: int
    end_ns: int
    values: dict[str, Any]
    """Meaning → value, in milliseconds, tokens and US dollars; a missing name was not observed."""
    chars: dict[str, int]
    tokens_estimated: bool
    """Whether the instrumentation counted tokens by itself instead of the server."""
    latency_ms: float | None
    error: str | None
    version: str
    kind: Kind = "generations"
    text: SpanText | None = None
    """Text that no feature was computed of yet; None before the call waits or is published."""
    observed: ObservedText | None = None
    """What the prediction contains of the text."""
    suffix: str = ""
    """Of the model's name: `.tools` or `.agents` for a step."""

    @property
    def event_id(self) -> str:
        """The id of its prediction."""
        return f"{self.trace_id.hex()}-{self.span_id.hex()}"

    @property
    def content_chars(self) -> int:
        """The length of the text that its prediction contains, in characters."""
        return 0 if self.observed is None else sum(map(len, self.observed.context.values()))


@dataclass(slots=True)
class ReadCounts:
    """What the reader could not use."""

    values: Counter[tuple[str, ValueReason]] = field(default_factory=Counter)
    """Meaning and reason of values that count as not observed."""
    unlisted: Counter[str] = field(default_factory=Counter)
    """Scopes of model calls that the table of trust does not list."""
    operations: Counter[str] = field(default_factory=Counter)
    """What spans with a model or tokens do, where the table does not list it."""


class CallReader:
    """Reads model calls from spans."""

    def __init__(self, conventions: Conventions, otlp: OtlpSettings) -> None:
        self._conventions = conventions
        self._lookup = conventions.attribute
        first, second = "response_model", "request_model"
        self._version_order = (second, first) if otlp.version == "request" else (first, second)
        self._model_attribute = otlp.model_attribute
        self._answered: dict[tuple[str | None, Kind, str], str] = {}
        """Route (application, what for, requested model) → the model that answered last; for an empty one, of all."""
        self._trust: dict[str, ScopeTrust | None] = {}
        self.counts = ReadCounts()

    def read(self, span: Span) -> ModelCall | SpanReason | SpanOutcome:
        """Return the model call of a span, the reason why it is rejected, or what it is instead."""
        if not span.attributes and not self._names_a_failed_call(span):
            return SpanOutcome.NO_CALL
        faults: list[tuple[str, ValueReason]] = []
        values = self._values(span.attributes, faults)
        logged_ms = values.pop("logged_ms", None)
        outcome, kind = self._outcome(span.name, values)
        if outcome is not SpanOutcome.COUNTED:
            return outcome
        if span.start_ns <= 0:
            return SpanReason.BAD_TIME
        trust = self._trust_of(span.scope.name)
        if trust is not None and trust.logs_streams:
            if logged_ms is not None:
                span.start_ns -= int(logged_ms * NS_PER_MS)
                values["is_stream"] = True
            elif kind == "generations" and not (span.failed or "response_id" in values or "input_tokens" in values):
                return SpanOutcome.STREAM_START
        latency_ms = self._latency(span, faults)
        self._set_first_token(span, values, latency_ms, faults)
        error = self._error(span, values, trust, faults)
        is_answered = error is None and "response_model" in values
        application = span.scope.resource.get(self._model_attribute), kind
        version = self._version(span, values, application, is_answered=is_answered)
        if version is None and error is None:
            return SpanReason.MISSING_VERSION
        if version is not None and error is None:
            self._answered[*application, ""] = version
        version = version or self._answered.get((*application, ""), UNKNOWN_ERROR)
        if kind != "generations":
            values.setdefault("operation", kind)
        estimated = False
        if trust is not None:
            estimated = _is_estimated(trust, values)
            if trust.ttft == "estimated" and "ttft_ms" in values:
                values["ttft_ms" + ESTIMATED] = values.pop("ttft_ms")
            if trust.cost_zero == "unknown" and values.get("cost_usd") == 0:
                del values["cost_usd"]
        _check_usage(values, faults, are_parts_beside=trust is not None and _holds(trust.beside, values))
        if faults:
            self.counts.values.update(faults)
        return ModelCall(
            span.scope,
            span.trace_id,
            span.span_id,
            span.parent_id,
            span.start_ns,
            span.end_ns,
            values,
            span.chars,
            estimated,
            latency_ms,
            error,
            version,
            kind,
            span.text,
        )

    def _names_a_failed_call(self, span: Span) -> bool:
        """Return whether a span without attributes is that of a failed call by its name, as OpenLIT's for Anthropic."""
        operation, _, model = span.name.partition(" ")
        if not (span.failed and model and self._conventions.trust_of(span.scope.name)):
            return False
        is_call = any(rule.meaning == "operation" and operation in rule.calls for rule in self._conventions.model_calls)
        if is_call:
            span.attributes["gen_ai.operation.name"] = operation
        return is_call

    def read_step(self, span: Span) -> ModelCall | SpanReason:
        """Return the call of a tool or an agent, whose model has the name of the application and a suffix.

        It has no tokens: what an agent's span sums up is counted in the calls inside.
        """
        if span.start_ns <= 0:
            return SpanReason.BAD_TIME
        faults: list[tuple[str, ValueReason]] = []
        values = self._values(span.attributes, faults)
        rules = ((rule, values.get(rule.meaning)) for rule in self._conventions.model_calls)
        kind = "tool" if "tool" in next(str(each) for rule, each in rules if each in rule.steps).lower() else "agent"
        known = {name: values[name] for name in (kind, "operation", "response_id", *STEP_CONTEXT) if name in values}
        latency_ms, error = self._latency(span, faults), self._error(span, values, None, faults)
        ids = span.trace_id, span.span_id, span.parent_id, span.start_ns, span.end_ns
        return ModelCall(span.scope, *ids, known, {}, False, latency_ms, error, STEP_VERSION, suffix=f".{kind}s")

    def _values(self, attributes: dict[str, Any], faults: list[tuple[str, ValueReason]]) -> dict[str, Any]:
        """Return the best readable value of each meaning."""
        values: dict[str, Any] = {}
        ranks: dict[str, int] = {}
        lookup = self._lookup
        for name, raw in attributes.items():
            attribute = lookup(name)
            assert attribute is not None
            for meaning, form, unit, member, rank in attribute.readings:
                if meaning in ranks and ranks[meaning] < rank:
                    continue
                if form == "count" and type(raw) is int and 0 <= raw <= MAX_TOKENS:
                    values[meaning], ranks[meaning] = raw, rank
                    continue
                try:
                    value = raw if member is None else member_of(raw, member)
                    if (value is None and member is not None) or (value == "" and form in _TEXTS):
                        continue
                    if form in _TEXTS and type(value) is str and len(value) <= MAX_TEXT_CHARS:
                        values[meaning] = read_known_text(form, value)
                    else:
                        values[meaning] = read_value(form, unit, value)
                    ranks[meaning] = rank
                except UnreadableValue as error:
                    faults.append((meaning, error.reason))
        return values

    def _outcome(self, name: str, values: dict[str, Any]) -> tuple[SpanOutcome, Kind]:
        """Return what a span is, `COUNTED` if it is a model call, and what that is for."""
        unlisted = None
        for rule in self._conventions.model_calls:
            value = name if rule.meaning == "span_name" else values.get(rule.meaning)
            if value is None:
                continue
            if value in rule.calls:
                return SpanOutcome.COUNTED, "generations"
            if value in rule.kinds:
                return SpanOutcome.COUNTED, rule.kinds[value]
            if value in rule.steps:
                return SpanOutcome.STEP, "generations"
            if value in rule.others:
                return SpanOutcome.NO_CALL, "generations"
            unlisted = value if rule.calls or rule.steps else unlisted
        has_usage = any(meaning in values for meaning in self._conventions.model_calls_by_presence)
        if unlisted is None and has_usage:
            return SpanOutcome.COUNTED, "generations"
        if not has_usage and "request_model" not in values:
            return SpanOutcome.NO_CALL, "generations"
        count_name(self.counts.operations, unlisted or "none")
        return SpanOutcome.UNKNOWN_OPERATION, "generations"

    def _version(
        self, span: Span, values: dict[str, Any], application: tuple[str | None, Kind], *, is_answered: bool
    ) -> str | None:
        """Return the version of a call; if nothing answered, the model that answered its route last."""
        if len(self._answered) >= MAX_ROUTES:
            self._answered.clear()
        route = (*application, values.get("request_model", ""))
        if self._version_order[0] == "response_model" and route[2]:
            if not is_answered:
                return self._answered.get(route, str(route[2]))
            self._answered[route] = values["response_model"]
        for meaning in self._version_order:
            version = values.get(meaning)
            if version is not None:
                return str(version)
        # The GenAI conventions name a span `{operation} {requested model}`.
        operation, _, rest = span.name.partition(" ")
        if rest and operation == values.get("operation"):
            try:
                return read_model(rest)
            except UnreadableValue:
                return None
        return None

    def _trust_of(self, scope: str) -> ScopeTrust | None:
        if scope not in self._trust and len(self._trust) < MAX_UNLISTED:
            self._trust[scope] = self._conventions.trust_of(scope)
        trust = self._trust[scope] if scope in self._trust else self._conventions.trust_of(scope)
        if trust is None:
            count_name(self.counts.unlisted, scope)
        return trust

    def _latency(self, span: Span, faults: list[tuple[str, ValueReason]]) -> float | None:
        if span.end_ns <= 0:
            faults.append(("latency_ms", ValueReason.NO_END))
            return None
        latency_ms = (span.end_ns - span.start_ns) / NS_PER_MS
        if 0 <= latency_ms <= MAX_DURATION_MS:
            return latency_ms
        faults.append(("latency_ms", ValueReason.NEGATIVE if latency_ms < 0 else ValueReason.TOO_LARGE))
        return None

    def _set_first_token(
        self, span: Span, values: dict[str, Any], latency_ms: float | None, faults: list[tuple[str, ValueReason]]
    ) -> None:
        """Set `ttft_ms`, or remove it: without streaming nobody observes a first token.

        Some instrumentations write the whole duration in its place.
        """
        at_ms = values.pop("first_token_at", None)
        if values.get("is_stream") is False:
            values.pop("ttft_ms", None)
            return
        if "ttft_ms" not in values:
            if at_ms is not None:
                values["ttft_ms"] = at_ms - span.start_ns / NS_PER_MS
            elif span.first_token_ns:
                values["ttft_ms"] = (span.first_token_ns - span.start_ns) / NS_PER_MS
        ttft_ms = values.get("ttft_ms")
        # A millisecond for rounding: some write times of day in milliseconds.
        if ttft_ms is not None and (ttft_ms < -1 or (latency_ms is not None and ttft_ms > latency_ms + 1)):
            del values["ttft_ms"]
            faults.append(("ttft_ms", ValueReason.AFTER_END))
        elif ttft_ms is not None:
            values["ttft_ms"] = max(0.0, ttft_ms)

    def _error(
        self, span: Span, values: dict[str, Any], trust: ScopeTrust | None, faults: list[tuple[str, ValueReason]]
    ) -> str | None:
        """Return the kind of error, without the module of an exception's class; None if the call did not fail."""
        kind = values.get("error_type")
        if kind is None and (("error_type", ValueReason.NOT_A_NAME) in faults):
            kind = OTHER
        if kind is None and span.failed:
            kind = span.exception or UNKNOWN_ERROR
            if not is_name(kind):
                faults.append(("error_type", ValueReason.NOT_A_NAME))
                kind = OTHER
        if kind is None:
            return None
        name = str(kind).rpartition(".")[2] or OTHER
        if trust is not None and name in trust.own_errors:
            faults.append(("error_type", ValueReason.INSTRUMENTATION_ERROR))
            return None
        return name


def _is_estimated(trust: ScopeTrust, values: dict[str, Any]) -> bool:
    if trust.tokens == "reported" or values.get("is_stream") is False:
        return False
    return not _holds(trust.evidence, values)


def _holds(evidence: Evidence | None, values: dict[str, Any]) -> bool:
    return evidence is not None and evidence.holds(values)


def _check_usage(values: dict[str, Any], faults: list[tuple[str, ValueReason]], *, are_parts_beside: bool) -> None:
    """Make each count contain its parts, and remove impossible ones."""
    for whole, names in PARTS:
        parts = [values[name] for name in names if name in values]
        if whole not in values or not parts:
            continue
        if are_parts_beside:
            values[whole] += sum(parts)
        elif sum(parts) > values[whole]:
            faults.append((whole, ValueReason.INCONSISTENT))
            for name in (whole, *names):
                values.pop(name, None)
    if values.get("service_tier") in ORDINARY_TIERS:
        values.pop("service_tier", None)


def count_name(counts: Counter[str], name: str) -> None:
    """Count a name; of many, and of what does not look like a name, `other`."""
    counts[name if name in counts or (len(counts) < MAX_UNLISTED and is_name(name)) else OTHER] += 1
