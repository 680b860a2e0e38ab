"""Queries of a processor's HTTP endpoint, and servers that hang."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from urllib3.exceptions import HTTPError

from tests.support.http import request
from tests.support.pipeline import Pipeline, wait_for

KINDS = ("sketcher", "recorder", "monitor", "scorer")


def lines(pipeline: Pipeline, name: str) -> list[dict[str, Any]]:
    rows = []
    for line in (pipeline.log_dir / f"{name}.log").read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def address(pipeline: Pipeline, name: str, event: str = "metrics") -> str:
    def check() -> str:
        pipeline.alive()
        addresses = [str(line["address"]) for line in lines(pipeline, name) if line.get("event") == event]
        return addresses[-1] if addresses else ""

    return str(wait_for(check, f"the endpoint of {name}"))


def get(where: str, path: str) -> tuple[int, str]:
    try:
        answer = request("GET", f"http://{where}{path}", timeout_s=10)
    except HTTPError as error:
        return 0, str(error)
    return answer.status, answer.data.decode()


def health(where: str) -> tuple[int, dict[str, Any]]:
    code, body = get(where, "/healthz")
    return code, json.loads(body) if code else {}


def families(where: str) -> dict[str, Any]:
    code, text = get(where, "/metrics")
    return {family.name: family for family in text_string_to_metric_families(text)} if code == 200 else {}


def total(where: str, name: str, **labels: str) -> float:
    rows = [
        sample.value
        for family in families(where).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(rows) if rows else float("nan")


def wait_total(where: str, least: float, name: str, **labels: str) -> None:
    wait_for(lambda: total(where, name, **labels) >= least, f"{name} {labels} of at least {least} at {where}")


@contextmanager
def held_up(pid: int | None) -> Iterator[None]:
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
