"""What processors tell over HTTP, and how their servers are held up."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.pipeline import Pipeline, wait_for

KINDS = ("sketcher", "recorder", "monitor", "scorer")


def lines(pipeline: Pipeline, name: str) -> list[dict[str, Any]]:
    """The log of a processor, line by line; what is not JSON left out."""
    found = []
    for line in (pipeline.log_dir / f"{name}.log").read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def address(pipeline: Pipeline, name: str) -> str:
    """Where a processor's endpoint listens, as its log says."""

    def look() -> str:
        pipeline.alive()
        told = [str(line["address"]) for line in lines(pipeline, name) if line.get("event") == "metrics"]
        return told[-1] if told else ""

    return str(wait_for(look, f"the endpoint of {name}"))


def get(where: str, path: str) -> tuple[int, str]:
    """Status and body; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{where}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def health(where: str) -> tuple[int, dict[str, Any]]:
    """What `/healthz` answers."""
    code, body = get(where, "/healthz")
    return code, json.loads(body) if code else {}


def families(where: str) -> dict[str, Any]:
    """What `/metrics` tells: name → family."""
    code, text = get(where, "/metrics")
    return {family.name: family for family in text_string_to_metric_families(text)} if code == 200 else {}


def total(where: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples of that name and those labels; NaN where there are none."""
    found = [
        sample.value
        for family in families(where).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(found) if found else float("nan")


def wait_total(where: str, least: float, name: str, **labels: str) -> None:
    """Wait until a metric is at least so large."""
    wait_for(lambda: total(where, name, **labels) >= least, f"{name} {labels} of at least {least} at {where}")


@contextmanager
def held_up(pid: int | None) -> Iterator[None]:
    """A server that neither answers nor hangs up."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
