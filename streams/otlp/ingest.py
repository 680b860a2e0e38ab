"""Export requests → predictions: decoding, reading, nesting, mapping, and a count of everything that is left out."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import structlog
from barograph.values import encode_event

from barograph_server.streams.events.event_time import FUTURE_MS, RETENTION_MS
from barograph_server.streams.otlp.conventions import Conventions
from barograph_server.streams.otlp.json_decoder import JsonExportDecoder
from barograph_server.streams.otlp.model_call import STEP_SUFFIXES, CallReader, ModelCall, count_name
from barograph_server.streams.otlp.nesting import Candidate, NestedCalls
from barograph_server.streams.otlp.prediction import PredictionMapper
from barograph_server.streams.otlp.protobuf_decoder import ProtobufExportDecoder
from barograph_server.streams.otlp.rejection import RequestReason, SpanOutcome, SpanReason, ValueReason
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.otlp.span import MAX_UNKNOWN_NAMES, NS_PER_MS, OTHER, DecodedRequest, Span
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.warehouse.operations import metrics


class CallText(Protocol):
    """Computes what predictions contain of texts."""

    def reads(self, model: str) -> bool:
        """Return whether text of a model's calls is read."""

    def observe(self, model: str, calls: Sequence[ModelCall]) -> None:
        """Set `observed` of calls that have text."""


class AddedRequest(NamedTuple):
    """What became of a request."""

    events: list[bytes]
    """Predictions that are ready, of this request or of earlier ones."""
    rejected: Counter[SpanReason]
    """Rejected spans by reason."""
    calls: list[tuple[bytes, bytes]]
    """Trace and span of the request's model calls, and of tools and agents that are published, those that were received
    before included."""


class Ingest:
    """Turns export requests into encoded predictions. Not safe to share between threads."""

    def __init__(
        self,
        conventions: Conventions,
        otlp: OtlpSettings,
        *,
        producer: str | None,
        seq: Iterator[int | None],
        nested: NestedCalls | None = None,
        retention_ms: int = RETENTION_MS,
        steps: Sequence[Callable[[Any], tuple[str, ValueReason] | None]] = (),
        text: CallText | None = None,
        has_contract: Callable[[str], bool] = lambda model: False,
    ) -> None:
        """Assemble the steps.

        Args:
            producer: the id of the publishing process; None if events have none.
            seq: numbers the events of this process from 0, or repeats None.
            nested: decides which of nested calls count.
            retention_ms: age at receipt from which a model call is rejected.
            steps: change each prediction (`QuickPrediction`) as the model's contract says, in this order, and return
                what is not observed and why, or None; the last one removes personal data.
            text: computes features of text; None if all text is dropped.
            has_contract: whether a model has a contract; calls of tools and agents without one are not published.
        """
        self.json = JsonExportDecoder(conventions, otlp, self._reads_text)
        self.protobuf = ProtobufExportDecoder(conventions, otlp, self._reads_text)
        self._reader = CallReader(conventions, otlp)
        self._mapper = PredictionMapper(conventions, otlp)
        self._producer, self._seq = producer, seq
        self.nested = nested or NestedCalls(otlp)
        self._retention_ms, self._steps, self._text = retention_ms, steps, text
        self._has_contract = has_contract
        self.rejected: Counter[SpanReason] = Counter()
        """Rejected spans."""
        self.unknown: Counter[str] = Counter()
        """Unknown attribute names of known conventions."""
        self.not_observed = self._reader.counts.values
        """Meaning and reason of values that count as not observed."""
        self.unlisted = self._reader.counts.unlisted
        """Instrumentation scopes without an entry in the table of trust."""
        self.operations = self._reader.counts.operations
        """What spans with a model or tokens do, where the table of conventions does not list it."""
        self.unassigned: Counter[str] = Counter()
        """Applications, and what their calls are for, that `otlp.models` names no model for."""

    def add(self, request: DecodedRequest, received_ms: int) -> AddedRequest:
        """Add a request."""
        rejected = Counter(request.rejected)
        candidates: list[Candidate] = []
        tools_and_agents: dict[tuple[bytes, bytes], ModelCall] = {}
        for span in request.spans:
            read = self._reader.read(span)
            if isinstance(read, ModelCall):
                read = self._check(read, received_ms)
            if isinstance(read, SpanReason):
                rejected[read] += 1
            elif isinstance(read, SpanOutcome):
                if read is SpanOutcome.STEP and self._publishes_steps(span):
                    step: ModelCall | SpanReason | SpanOutcome = self._reader.read_step(span)
                    step = self._check(step, received_ms) if isinstance(step, ModelCall) else step
                    if isinstance(step, SpanReason):
                        rejected[step] += 1
                    elif isinstance(step, ModelCall) and self._has_contract(self._mapper.model(step) or ""):
                        tools_and_agents.setdefault((span.trace_id, span.span_id), step)
                candidates.append(Candidate(span.trace_id, span.span_id, span.parent_id, None, read))
            else:
                candidates.append(Candidate(span.trace_id, span.span_id, span.parent_id, read))
        self.rejected.update(rejected)
        self._count_unknown(request.unknown)
        self._observe_text(candidates)
        calls = [(each.trace_id, each.span_id) for each in candidates if each.call is not None]
        events = self._encode(self.nested.new_steps(tools_and_agents.values())) + self._encode(
            self.nested.add(candidates)
        )
        return AddedRequest(events, rejected, [*calls, *tools_and_agents])

    def expire(self) -> list[bytes]:
        """Return the predictions of calls that have waited long enough for their parents."""
        return self._encode(self.nested.expire())

    def release(self) -> list[bytes]:
        """Return the predictions of all calls that wait."""
        return self._encode(self.nested.release())

    def _reads_text(self, resource: Mapping[str, str]) -> bool:
        if self._text is None:
            return False
        model = self._mapper.model_of(resource)
        return model is not None and self._text.reads(model)

    def _publishes_steps(self, span: Span) -> bool:
        model = self._mapper.model_of(span.scope.resource)
        return model is not None and any(self._has_contract(model + suffix) for suffix in STEP_SUFFIXES)

    def _observe_text(self, candidates: Iterable[Candidate]) -> None:
        by_model: dict[str, list[ModelCall]] = {}
        for trace_id, span_id, _, call, _ in candidates:
            if call is None or call.text is None:
                continue
            if self.nested.is_known(trace_id, span_id):
                call.text = None
            else:
                by_model.setdefault(self._mapper.model(call) or "", []).append(call)
        for model, group in by_model.items():
            if self._text is not None:
                self._text.observe(model, group)
            for call in group:
                call.text = None

    def _check(self, call: ModelCall, received_ms: int) -> ModelCall | SpanReason | SpanOutcome:
        start_ms = call.start_ns // NS_PER_MS
        if start_ms - received_ms > FUTURE_MS:
            return SpanReason.FUTURE_TIME
        if received_ms - start_ms > self._retention_ms:
            return SpanReason.TOO_OLD
        if self._mapper.model(call) is not None:
            return call
        application = self._mapper.application(call.scope.resource)
        if call.kind == "generations" or application is None:
            return SpanReason.MISSING_MODEL
        count_name(self.unassigned, f"{application}/{call.kind}")
        return SpanOutcome.UNASSIGNED

    def _encode(self, calls: Iterable[ModelCall]) -> list[bytes]:
        events = []
        for call in calls:
            model = self._mapper.model(call)
            assert model is not None
            prediction = self._mapper.prediction(model, call, self._producer, next(self._seq))
            for step in self._steps:
                fault = step(prediction)
                if fault is not None:
                    self.not_observed[fault] += 1
            events.append(encode_event(prediction))
        return events

    def _count_unknown(self, unknown: Mapping[str, int]) -> None:
        for name, n in unknown.items():
            known = name if name in self.unknown or len(self.unknown) < MAX_UNKNOWN_NAMES else OTHER
            self.unknown[known] += n


LOG_INTERVAL_S = 60.0
"""Shortest time between two log messages about the same kind of loss."""


class IngestReport:
    """Reports an ingest; not safe to share between threads."""

    def __init__(self, ingest: Ingest, report: Report, *, clock: Callable[[], float] = time.time) -> None:
        """Start with what the ingest has counted so far."""
        self._ingest, self._report, self._clock = ingest, report, clock
        self._requests: Counter[RequestReason] = Counter()
        self._reported: Counter[str] = Counter()
        self._logged: dict[str, tuple[float, int]] = {}
        self._known_names: set[str] = set()
        self._log = structlog.get_logger().bind(processor="otlp", instance=report.instance)

    def count_request(self, reason: RequestReason) -> None:
        """Count a request that could not be read."""
        self._requests[reason] += 1

    def update(self) -> None:
        """Add what changed since the last call to the metrics, and log what is new."""
        self._count()
        self._log_findings()

    def _count(self) -> None:
        ingest = self._ingest
        totals: Counter[str] = Counter({outcome.value: n for outcome, n in ingest.nested.outcomes.items()})
        totals.update({reason.value: n for reason, n in ingest.rejected.items()})
        for metric, counts in (
            (metrics.SPANS, totals),
            (metrics.UNKNOWN_OPERATIONS, ingest.operations),
            (metrics.NOT_OBSERVED, self._by_reason()),
        ):
            for label, n in counts.items():
                key = metric.key(label)
                if n > self._reported[key]:
                    self._report.add(metric, n - self._reported[key], label)
                    self._reported[key] = n

    def _by_reason(self) -> Counter[str]:
        by_reason: Counter[str] = Counter()
        for (_, reason), n in self._ingest.not_observed.items():
            by_reason[reason.value] += n
        return by_reason

    def _log_findings(self) -> None:
        ingest = self._ingest
        for title, names in (
            ("unknown attribute names", ingest.unknown),
            ("scopes without an entry in the table of trust", ingest.unlisted),
            ("operations of spans with a model or tokens that are not understood", ingest.operations),
            ("calls that are in no total; name a model for them in otlp.models", ingest.unassigned),
        ):
            new = sorted(name for name in names if f"{title} {name}" not in self._known_names)
            if new:
                self._known_names.update(f"{title} {name}" for name in new)
                self._log.info(title, names=new)
        losses = {f"requests rejected: {reason}": n for reason, n in self._requests.items()}
        losses |= {f"spans rejected: {reason}": n for reason, n in ingest.rejected.items()}
        losses |= {f"{meaning} not observed: {reason}": n for (meaning, reason), n in ingest.not_observed.items()}
        now_s = self._clock()
        for text, n in losses.items():
            last_s, logged = self._logged.get(text, (float("-inf"), 0))
            if n > logged and now_s - last_s >= LOG_INTERVAL_S:
                self._logged[text] = now_s, n
                self._log.warning(text, so_far=n)
