"""`barograph run otlp` as a process of a test's pipeline."""

import json
from typing import Any

from tests.support.pipeline import Pipeline, wait_for


def start(pipeline: Pipeline, **otlp: Any) -> int:
    pipeline.clock = "live"
    pipeline.start("otlp", otlp={"port": 0, "wait_s": 0.5, **otlp})
    return port_of(pipeline)


def port_of(pipeline: Pipeline) -> int:
    def port() -> int:
        pipeline.alive()
        lines = [json.loads(line) for line in pipeline.log("otlp-0").splitlines() if line.startswith("{")]
        addresses = [line["address"] for line in lines if line.get("event") == "receiving"]
        return int(addresses[0].rpartition(":")[2]) if addresses else 0

    return int(wait_for(port, "the receiver"))


def published(pipeline: Pipeline, n: int) -> list[dict[str, Any]]:
    messages = wait_for(
        lambda: len(each := pipeline.read_all(pipeline.topics.predictions)) >= n and each, f"{n} predictions"
    )
    events = [json.loads(message.value()) for message in messages]
    assert len(events) == n
    return sorted(events, key=lambda event: event["at"])
