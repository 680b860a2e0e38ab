"""The process of the support bot: `python -m barograph_server.examples.support_bot.bot OPTIONS`, options in JSON.

Two threads answer questions with a prompt from the registry. OpenTelemetry instruments the `openai` client and makes
the spans; a span processor adds the prompt to them. Commands come on standard input, one per line:

* `mix TOPIC SHARE`: the topic gets this share of the questions, the others the rest.
* `arms SHARE`: this share of the questions gets the prompt with the label `candidate`; the others `production`.
* End of the input: the process sends the spans that it holds and ends.

On the clock of its spans an hour passes with every 20 questions, so that a demo of minutes has a day of data. Durations
are real. Each call is appended to a file with what the client and the server measured, to compare the results with.
"""

import contextvars
import itertools
import json
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import msgspec
import openai
from barograph import Prompt, Prompts
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import get_tracer, set_tracer_provider

from barograph_server.examples.support_bot.questions import even_mix, mix_with, question

THREADS = 2
EXPORT_EVERY_MS = 500
CALLS_PER_HOUR = 20
_HOUR_NS = 3600 * 10**9
PROMPT = "answer"


@dataclass(slots=True)
class CurrentCall:
    number: int
    prompt: Prompt
    id: str = ""
    """The id of its prediction: trace id and span id."""


_NUMBER = "demo.number"
_current_call: contextvars.ContextVar[CurrentCall] = contextvars.ContextVar("call")


class BotOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    base_url: str
    """The language model."""
    model: str
    spans_url: str
    """The receiver of spans: `http://127.0.0.1:4318/v1/traces`."""
    bootstrap_servers: str
    topic_prefix: str
    record: str
    """The file to append calls to."""
    seed: int
    origin_s: int
    """The time of the first question on the clock of the spans, Unix seconds."""
    plant: str = ""
    """A secret text that every 20th customer writes, to search for afterwards."""


class PromptOnSpans(SpanProcessor):
    """Adds the current prompt to the span of each model call, and the number of the call to all spans."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        call = _current_call.get(None)
        if call is None:
            return
        span.set_attribute(_NUMBER, call.number)
        if span.parent is not None:
            span.set_attribute("barograph.prompt.name", call.prompt.name)
            span.set_attribute("barograph.prompt.version", str(call.prompt.version))
            span.set_attribute("barograph.arm", call.prompt.id)
            call.id = f"{span.context.trace_id:032x}-{span.context.span_id:016x}"


class ShiftedTimes(SpanExporter):
    """Moves spans to the times of the demo's clock, and passes them on."""

    def __init__(self, exporter: SpanExporter, origin_s: int) -> None:
        self._exporter, self._origin_ns = exporter, origin_s * 10**9

    def export(self, spans: Sequence[ReadableSpan]) -> Any:
        return self._exporter.export([self._moved(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def _moved(self, span: ReadableSpan) -> ReadableSpan:
        start_ns = self._origin_ns + (span.attributes or {}).get(_NUMBER, 0) * _HOUR_NS // CALLS_PER_HOUR
        names = ("name", "context", "parent", "resource", "attributes", "kind", "status", "instrumentation_scope")
        unchanged: dict[str, Any] = {name: getattr(span, name) for name in names}
        return ReadableSpan(**unchanged, start_time=start_ns, end_time=start_ns + (span.end_time - span.start_time))


class Bot:
    """Answers questions in threads until it is stopped."""

    def __init__(self, options: BotOptions, prompts: Prompts, record: IO[str]) -> None:
        """Describe the bot; `record` receives one JSON line per call."""
        self._options, self._prompts, self._record = options, prompts, record
        self._client = openai.OpenAI(base_url=options.base_url, api_key="none", max_retries=0)
        self._mix, self._candidate_share = even_mix(), 0.0
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def command(self, line: str) -> None:
        name, _, values = line.partition(" ")
        if name == "mix":
            topic, _, share = values.rpartition(" ")
            self._mix = mix_with(topic, float(share))
        elif name == "arms":
            self._candidate_share = float(values)
        else:
            raise ValueError(f"unknown command {line!r}")

    def run(self, commands: IO[str]) -> None:
        """Answer questions until the commands end."""
        threads = [threading.Thread(target=self._answer_questions, args=(i,)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        for line in commands:
            self.command(line.strip())
        self._stop.set()
        for thread in threads:
            thread.join()

    def _answer_questions(self, thread: int) -> None:
        rng = random.Random(f"{self._options.seed}-{thread}")  # noqa: S311 - questions, no secrets
        while not self._stop.is_set():
            number = next(self._numbers)
            text = question(rng, self._mix)
            if self._options.plant and number % 20 == 0:
                text = f"{text} {self._options.plant}"
            self._answer(number, text)

    def _answer(self, number: int, text: str) -> None:
        share = self._candidate_share
        shares = {"production": 1.0 - share, "candidate": share} if share else {"production": 1.0}
        call = CurrentCall(number, self._prompts.assign(PROMPT, unit=f"question-{number}", shares=shares))
        token = _current_call.set(call)
        try:
            self._call(call, text)
        finally:
            _current_call.reset(token)

    def _call(self, call: CurrentCall, text: str) -> None:
        settings: dict[str, Any] = call.prompt.config
        messages: Any = call.prompt.render(question=text)
        began_s, first_s, timings = time.perf_counter(), None, None
        with get_tracer("barograph_server.examples.support_bot").start_as_current_span("answer a customer"):
            stream = self._client.chat.completions.create(
                model=self._options.model,
                messages=messages,
                stream=True,
                stream_options={"include_usage": True},
                **settings,
            )
            for chunk in stream:
                if first_s is None and chunk.choices and chunk.choices[0].delta.content:
                    first_s = time.perf_counter() - began_s
                timings = getattr(chunk, "timings", None) or timings
        seconds = time.perf_counter() - began_s
        measured = {"seconds": seconds, "first_token_s": first_s, "timings": timings}
        line = json.dumps({"id": call.id, "prompt": call.prompt.id, "question": text, **measured})
        with self._lock:
            self._record.write(f"{line}\n")
            self._record.flush()


def end_process(failure: threading.ExceptHookArgs) -> None:
    """Print a thread's error and end the process: without the thread it would answer nobody."""
    threading.__excepthook__(failure)
    os._exit(1)


def main(options: BotOptions) -> None:
    """Serve until standard input ends."""
    threading.excepthook = end_process
    provider = TracerProvider()
    provider.add_span_processor(PromptOnSpans())
    exporter = ShiftedTimes(OTLPSpanExporter(endpoint=options.spans_url), options.origin_s)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_EVERY_MS))
    set_tracer_provider(provider)
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    prompts = Prompts(bootstrap_servers=options.bootstrap_servers, topic_prefix=options.topic_prefix)
    if not prompts.wait(60.0):
        raise SystemExit("The prompts could not be read from Kafka within a minute.")
    with open(options.record, "a", encoding="utf-8") as record:
        Bot(options, prompts, record).run(sys.stdin)
    prompts.close()
    provider.shutdown()


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=BotOptions))
