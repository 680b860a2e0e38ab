"""Of several descriptions of a model call one counts: two instrumentations, or client and server, describe it twice.

A model call counts unless one of its ancestors in the trace is a model call, so of nested calls the outermost counts:
it has the application's name and its prompt. Where the outermost did not observe a value, or only estimated it, the
value of the call inside is taken, if there is exactly one and both wait. A tool or an agent between them makes the
inner call one of its own, and calls for embeddings, images or audio are nested only in others for the same.

Spans arrive in any order, and children usually before their parents. A call therefore waits until the chain of its
parents ends in a known model call, a step or a root, at most `wait_s`. A call that arrives when a call inside of it has
counted does not count.

Calls of which neither is known to be inside of the other are compared (`_Trace.is_twin`): two of different scopes whose
times contain each other are one call if they have the same response id, or if nothing contradicts it and the chain
between them is not known. Without a common trace they are one if they begin together and have the same tokens. Order
does not matter: a call is compared with all that have counted, and with those that wait and contain it.

Memory is bounded by the number of spans: the oldest traces are forgotten first. A span that arrives again while its
trace is remembered does not count again.
"""

import itertools
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
from barograph.text.content import ANSWER_HASH, PROMPT_HASH

from barograph_server.streams.otlp.conventions import Kind
from barograph_server.streams.otlp.model_call import ModelCall
from barograph_server.streams.otlp.rejection import SpanOutcome
from barograph_server.streams.otlp.settings import OtlpSettings

MAX_REMEMBERED_SPANS = 100_000
"""Spans that are remembered: at most 120 MB."""
MAX_WAITING = 20_000
"""Model calls that wait for parents: at most 60 MB. Beyond it, the oldest no longer waits."""
MAX_WAITING_IN_TRACE = 1_000
"""Model calls of one trace that wait for parents."""
MAX_TOKEN_COUNTS = 10_000
"""Different token counts whose last calls are compared with those of other traces."""
MAX_COUNTED = 256
"""Calls of one trace that counted and with which later ones are compared: the last ones."""
_TOLERANCE_NS = 100_000_000
"""Clocks of client and server differ."""
_MAX_DEPTH = 1_000
"""Longest chain of parents that is followed; a circle ends there."""
_KINDS: dict[Kind, int] = {"generations": 1, "embeddings": 2, "images": 4, "audio": 8}


class Candidate(NamedTuple):
    """A span, and the model call that it describes, if it does."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    """Empty for a root."""
    call: ModelCall | None
    outcome: SpanOutcome = SpanOutcome.NO_CALL
    """What the span is, if it describes no model call."""


class _Node(msgspec.Struct, gc=False):
    parent_id: bytes
    kind: int = 0
    """What the model call that waits or has counted here is for, of `_KINDS`; 0 if there is none."""
    is_step: bool = False
    """Whether calls inside are other calls than those around."""
    covers: int = 0
    """Sum of the kinds of calls inside that have counted."""


class _Counted(msgspec.Struct, gc=False, frozen=True):
    """What is remembered of a call that counted."""

    scope: str
    kind: Kind
    parent_id: bytes
    start_ns: int
    end_ns: int
    response_id: str | None
    models: frozenset[str]
    tokens: tuple[int | None, int | None]
    """Input and output tokens; None if they are estimated or not known."""

    def describes(self, other: "_Counted") -> bool:
        """Return whether nothing in scope, time and id contradicts that this is another description of a call."""
        if self.scope == other.scope or self.kind != other.kind:
            return False
        has_ids = self.response_id and other.response_id
        is_same_time = _contains(self, other) or _contains(other, self)
        return is_same_time and (not has_ids or self.response_id == other.response_id)


class _Trace(msgspec.Struct, gc=False):
    # The garbage collector does not visit the thousands of remembered traces: nothing in them refers to a trace.
    nodes: dict[bytes, _Node] = {}
    waiting: dict[bytes, ModelCall] = {}
    inner: dict[bytes, list[ModelCall]] = {}
    """Waiting call → the calls inside of it."""
    counted: tuple[_Counted, ...] = ()
    steps: tuple[_Counted, ...] = ()
    """Calls of tools and agents that counted, whose models are their names."""
    covered: dict[bytes, int] = {}
    """Parents that have not arrived → sum of the kinds of inner calls that counted."""

    described: dict[bytes, _Counted] = {}
    """What would be remembered of calls that wait, as far as they were compared."""

    def describe(self, call: ModelCall) -> _Counted:
        """Return what would be remembered of a call that waits."""
        description = self.described.get(call.span_id)
        if description is None:
            description = self.described[call.span_id] = _counted(call)
        return description

    def missing_parent(self, parent_id: bytes) -> bytes:
        """Return the nearest ancestor that has not arrived; empty if the chain ends in a root or a step."""
        for _ in range(_MAX_DEPTH):
            node = self.nodes.get(parent_id) if parent_id else None
            if node is None:
                return parent_id
            parent_id = b"" if node.is_step else node.parent_id
        return b""

    def is_twin(self, one: _Counted, other: _Counted) -> bool:
        """Return whether two calls, neither of which is known to be inside of the other, are one."""
        if not one.describes(other):
            return False
        if one.response_id and other.response_id:
            return True
        if one.models.isdisjoint(other.models) or any(map(_differ, one.tokens, other.tokens)):
            return False
        if one.parent_id == other.parent_id:
            return None not in one.tokens and one.tokens == other.tokens
        # With the same end of what is known above them, they are side by side.
        return self.missing_parent(one.parent_id) != self.missing_parent(other.parent_id)


class NestedCalls:
    """Decides which model calls count."""

    def __init__(
        self,
        otlp: OtlpSettings,
        *,
        max_spans: int = MAX_REMEMBERED_SPANS,
        max_waiting: int = MAX_WAITING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wait_s, self._max_spans, self._max_waiting = otlp.wait_s, max_spans, max_waiting
        self._clock = clock
        self._traces: OrderedDict[bytes, _Trace] = OrderedDict()
        self._model_attribute = otlp.model_attribute
        self._by_tokens: OrderedDict[tuple[object, ...], tuple[tuple[bytes, _Counted], ...]] = OrderedDict()
        """Application, input and output tokens → trace and description of the last calls that counted."""
        self._deadlines: deque[tuple[float, bytes, bytes]] = deque()
        self.outcomes: Counter[SpanOutcome] = Counter()
        self.remembered = 0
        """Spans that are remembered."""
        self.waiting = 0
        """Calls that wait."""
        self.waiting_chars = 0
        """Characters of text that the predictions of waiting calls contain."""

    def add(self, candidates: Iterable[Candidate]) -> list[ModelCall]:
        """Add the spans of one export request, and return the calls that count now."""
        touched: dict[bytes, _Trace] = {}
        deadline_s = self._clock() + self._wait_s
        for trace_id, span_id, parent_id, call, outcome in candidates:
            trace = touched.get(trace_id)
            if trace is None:
                trace = touched[trace_id] = self._trace(trace_id)
            if span_id in trace.nodes:
                self.outcomes[SpanOutcome.DUPLICATE] += 1
                continue
            is_step = call is None and outcome is SpanOutcome.STEP
            trace.nodes[span_id] = _Node(parent_id, 0 if call is None else _KINDS[call.kind], is_step)
            self.remembered += 1
            if span_id in trace.covered:
                self._cover(trace, span_id, trace.covered.pop(span_id))
            if call is None:
                self.outcomes[outcome] += 1
                continue
            trace.waiting[span_id] = call
            self.waiting += 1
            self.waiting_chars += call.content_chars
            if parent_id:
                self._deadlines.append((deadline_s, trace_id, span_id))
        counting: list[ModelCall] = []
        for trace in touched.values():
            if trace.waiting:
                self._resolve(trace, counting)
        self._enforce_limits(touched.values(), counting)
        return counting

    def new_steps(self, steps: Iterable[ModelCall]) -> list[ModelCall]:
        """Return the calls of tools and agents of a request, before `add`, that have not arrived and are no twins."""
        counting = []
        for step in steps:
            if self.is_known(step.trace_id, step.span_id):
                continue
            trace, one = self._trace(step.trace_id), _counted(step)
            others = [each for each in trace.steps if each.describes(one)]
            if any((one.response_id and each.response_id) or one.models & each.models for each in others):
                self.outcomes.update({SpanOutcome.TWIN: 1, SpanOutcome.STEP: -1})
                continue
            trace.steps = (*trace.steps, one)[-MAX_COUNTED:]
            counting.append(step)
        return counting

    def is_known(self, trace_id: bytes, span_id: bytes) -> bool:
        """Return whether a span has arrived before."""
        trace = self._traces.get(trace_id)
        return trace is not None and span_id in trace.nodes

    def is_waiting(self, trace_id: bytes, span_id: bytes) -> bool:
        """Return whether a call waits for its parents."""
        trace = self._traces.get(trace_id)
        return trace is not None and span_id in trace.waiting

    def expire(self) -> list[ModelCall]:
        """Return the calls that count because they have waited long enough."""
        counting: list[ModelCall] = []
        now_s = self._clock()
        while self._deadlines and self._deadlines[0][0] <= now_s:
            self._end_wait(counting)
        return counting

    def release(self) -> list[ModelCall]:
        """Return the calls that count if nothing more arrives: all waits end."""
        counting: list[ModelCall] = []
        while self._deadlines:
            self._end_wait(counting)
        return counting

    def forget(self) -> None:
        """Forget all spans, also the calls that wait; only what was counted stays counted."""
        self._traces.clear()
        self._by_tokens.clear()
        self._deadlines.clear()
        self.remembered = self.waiting = self.waiting_chars = 0

    def _trace(self, trace_id: bytes) -> _Trace:
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = _Trace()
        else:
            self._traces.move_to_end(trace_id)
        return trace

    def _end_wait(self, counting: list[ModelCall]) -> None:
        _, trace_id, span_id = self._deadlines.popleft()
        trace = self._traces.get(trace_id)
        if trace is not None and span_id in trace.waiting:
            self._decide(trace, trace.waiting[span_id], counting)

    def _decide(self, trace: _Trace, call: ModelCall, counting: list[ModelCall], *, is_placed: bool = False) -> None:
        """Count a call that is inside of no other, unless it is the twin of one that counts.

        Args:
            is_placed: all its ancestors are known, so that no call that waits is around it.
        """
        candidate, waiting = trace.describe(call), () if is_placed else trace.waiting.values()
        around = (trace.describe(each) for each in waiting if each is not call and _contains(each, call))
        is_twin = any(trace.is_twin(each, candidate) for each in itertools.chain(trace.counted, around))
        if is_twin or self._has_twin_in_another_trace(call, candidate):
            self._nest(trace, call, SpanOutcome.TWIN)
        else:
            self._count(trace, call, counting, candidate)

    def _has_twin_in_another_trace(self, call: ModelCall, one: _Counted) -> bool:
        """Return whether a call of another trace that began with this one, and has the same tokens, has counted."""
        if None in one.tokens:
            return False
        key = (call.scope.resource.get(self._model_attribute), *one.tokens)
        others = self._by_tokens.pop(key, ())
        is_twin = any(
            trace_id != call.trace_id
            and not (one.parent_id and other.parent_id)
            and abs(one.start_ns - other.start_ns) <= _TOLERANCE_NS
            and one.describes(other)
            and not one.models.isdisjoint(other.models)
            for trace_id, other in others
        )
        self._by_tokens[key] = others if is_twin else (*others, (call.trace_id, one))[-8:]
        if len(self._by_tokens) > MAX_TOKEN_COUNTS:
            self._by_tokens.popitem(last=False)
        return is_twin

    def _resolve(self, trace: _Trace, counting: list[ModelCall]) -> None:
        """Decide the waiting calls of a trace whose chain of parents is known."""
        if len(trace.waiting) == 1:
            (call,) = trace.waiting.values()
            if not call.parent_id and not trace.nodes[call.span_id].covers & _KINDS[call.kind]:
                self._decide(trace, call, counting, is_placed=True)
                return
        for span_id, call in list(trace.waiting.items()):
            if trace.nodes[span_id].covers & _KINDS[call.kind]:
                self._nest(trace, call)
        outermost: list[ModelCall] = []
        for call in list(trace.waiting.values()):
            outer_id, is_known = self._outer_call(trace, call)
            if outer_id is not None:
                self._nest(trace, call)
                if outer_id in trace.waiting:
                    inner = trace.inner.setdefault(outer_id, [])
                    # Only the single call inside of another supplies values: two are enough to know that it has more.
                    if len(inner) < 2:
                        inner.append(without_texts(call))
            elif is_known:
                outermost.append(call)
        for call in outermost:
            self._decide(trace, call, counting, is_placed=True)

    def _outer_call(self, trace: _Trace, call: ModelCall) -> tuple[bytes | None, bool]:
        """Return the outermost known model call around a call, and whether all its ancestors are known."""
        outer_id, parent_id = None, call.parent_id
        for _ in range(_MAX_DEPTH):
            if not parent_id:
                return outer_id, True
            node = trace.nodes.get(parent_id)
            if node is None:
                return outer_id, False
            if node.is_step:
                return outer_id, True
            if node.kind == _KINDS[call.kind] and parent_id != call.span_id:
                outer_id = parent_id
            parent_id = node.parent_id
        return None, True

    def _nest(self, trace: _Trace, call: ModelCall, outcome: SpanOutcome = SpanOutcome.NESTED) -> None:
        """Do not count a call. Calls inside of it are judged by what is around it."""
        self.outcomes[outcome] += 1
        self._end(trace, call)
        trace.nodes[call.span_id].kind = 0
        trace.inner.pop(call.span_id, None)

    def _count(self, trace: _Trace, call: ModelCall, counting: list[ModelCall], counted: _Counted) -> None:
        self.outcomes[SpanOutcome.COUNTED] += 1
        self._end(trace, call)
        trace.counted = (*trace.counted, counted)[-MAX_COUNTED:]
        self._cover(trace, call.parent_id, _KINDS[call.kind])
        inner = trace.inner.pop(call.span_id, [])
        if len(inner) == 1:
            complete(call, inner[0])
        counting.append(call)

    def _end(self, trace: _Trace, call: ModelCall) -> None:
        del trace.waiting[call.span_id]
        trace.described.pop(call.span_id, None)
        self.waiting -= 1
        self.waiting_chars -= call.content_chars

    def _cover(self, trace: _Trace, parent_id: bytes, kinds: int) -> None:
        """Mark the ancestors of a call that counts, so that none of them counts later."""
        for _ in range(_MAX_DEPTH):
            if not parent_id:
                return
            node = trace.nodes.get(parent_id)
            if node is None:
                trace.covered[parent_id] = trace.covered.get(parent_id, 0) | kinds
                return
            if node.covers & kinds == kinds or node.is_step:
                return
            node.covers |= kinds
            parent_id = node.parent_id

    def _enforce_limits(self, touched: Iterable[_Trace], counting: list[ModelCall]) -> None:
        for trace in touched:
            while len(trace.waiting) > MAX_WAITING_IN_TRACE:
                self._decide(trace, next(iter(trace.waiting.values())), counting)
        while self.waiting > self._max_waiting and self._deadlines:
            self._end_wait(counting)
        while self.remembered > self._max_spans and self._traces:
            _, trace = self._traces.popitem(last=False)
            self.remembered -= len(trace.nodes)
            for call in list(trace.waiting.values()):
                self._decide(trace, call, counting)


def complete(outer: ModelCall, inner: ModelCall) -> None:
    """Fill in what a call did not observe with what the only call inside of it observed.

    Args:
        inner: another description of the same call.
    """
    if outer.tokens_estimated and not inner.tokens_estimated and "output_tokens" in inner.values:
        for name in [each for each in outer.values if _is_usage(each)]:
            del outer.values[name]
        outer.tokens_estimated = False
    for name, value in inner.values.items():
        if _is_usage(name) and inner.tokens_estimated and not outer.tokens_estimated:
            continue
        outer.values.setdefault(name, value)
    for name, n_chars in inner.chars.items():
        outer.chars.setdefault(name, n_chars)
    if outer.observed is None:
        outer.observed = inner.observed


def without_texts(call: ModelCall) -> ModelCall:
    """Remove published texts from a call inside of another, and return it.

    Whether a text is in the sample depends on the id of its own call. Hashes and features stay.
    """
    if call.observed is not None:
        hashes = {name: each for name, each in call.observed.context.items() if name in (PROMPT_HASH, ANSWER_HASH)}
        call.observed = call.observed._replace(context=hashes)
    return call


def _is_usage(meaning: str) -> bool:
    return meaning.endswith("_tokens") or meaning == "cost_usd"


def _counted(call: ModelCall) -> _Counted:
    values = call.values
    models = [values.get("request_model"), values.get("response_model")]
    if call.suffix:
        models = [name and name + call.suffix for name in (values.get("tool"), values.get("agent"))]
    # Some name a model with its provider.
    names = frozenset(name.rpartition("/")[2] for name in models if name)
    tokens = (None, None) if call.tokens_estimated else (values.get("input_tokens"), values.get("output_tokens"))
    response_id = values.get("response_id")
    return _Counted(call.scope.name, call.kind, call.parent_id, call.start_ns, call.end_ns, response_id, names, tokens)


def _contains(outer: _Counted | ModelCall, inner: _Counted | ModelCall) -> bool:
    return outer.start_ns - _TOLERANCE_NS <= inner.start_ns and inner.end_ns <= outer.end_ns + _TOLERANCE_NS


def _differ(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and one != other
