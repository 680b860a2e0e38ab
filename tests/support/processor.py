"""Runs one processor with settings given as JSON: `python -m tests.support.processor KIND SETTINGS`."""

import json
import sys
import time
from functools import partial
from typing import Any

import msgspec

from barograph_server.alerts.guard.run import run_guard
from barograph_server.alerts.settings import AlertSettings
from barograph_server.streams import run
from barograph_server.streams.evaluator import judge_evaluators
from barograph_server.streams.evaluator import run as evaluator_run
from barograph_server.streams.evaluator.active import ActiveEvaluators
from barograph_server.streams.evaluator.judges.endpoint import ChatEndpoint
from barograph_server.streams.evaluator.judges.retries import CallRetries, EndpointBreaker, RetryingEndpoint
from barograph_server.streams.evaluator.run import run_evaluator
from barograph_server.streams.evaluator.settings import EvaluatorSettings
from barograph_server.streams.evaluator.worker import EvaluatorProcessor
from barograph_server.streams.otlp.run import run_otlp
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.scrape.run import run_scrape
from barograph_server.streams.scrape.settings import ScrapeSettings
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.topics import Topics
from barograph_server.warehouse.client import Address


def main(arguments: list[str]) -> int:
    kind, options = arguments[0], json.loads(arguments[1])
    who = options.pop("username"), options.pop("password")
    address = Address(options.pop("host"), options.pop("port"), options.pop("database"), *who)
    topics = Topics(options.pop("prefix"))
    otlp = OtlpSettings(**options.pop("otlp", {}))
    scrape = msgspec.convert(options.pop("scrape", {}), ScrapeSettings)
    evaluator = msgspec.convert(options.pop("evaluator", {}), EvaluatorSettings)
    if speed := options.pop("speed", None):
        speed_up_evaluator(*speed)
    settings = ProcessorSettings(warehouse=address, topics=topics, **options)
    if kind == "guard":
        return run_guard(settings, AlertSettings(), sends=False)
    if kind == "otlp":
        return run_otlp(settings, otlp)
    if kind == "evaluator":
        return run_evaluator(settings, evaluator)
    if kind == "scrape":
        return run_scrape(settings, scrape)
    return int(getattr(run, f"run_{kind}")(settings))


def speed_up_evaluator(speed: float, began_s: float) -> None:
    """Let the evaluator's clocks run faster since a time; ages of answers are too large by that since receipt."""

    def clock() -> float:
        return began_s + speed * (time.time() - began_s)

    def endpoint(chat: ChatEndpoint, retries: CallRetries, **options: Any) -> RetryingEndpoint:
        return RetryingEndpoint(chat, retries, EndpointBreaker(clock=clock), **options)

    fast = {"EvaluatorProcessor": partial(EvaluatorProcessor, monotonic=clock, clock=clock)}
    vars(evaluator_run).update(fast, ActiveEvaluators=partial(ActiveEvaluators, monotonic=clock))
    vars(judge_evaluators).update(RetryingEndpoint=endpoint)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
