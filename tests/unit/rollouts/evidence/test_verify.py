"""A bundle with new digests and parts of another shape is an error, before anything is read from the warehouse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import pytest

from barograph_server.rollouts.evidence.bundle import DAYS, PARTS, PROVENANCE, BundleError, encode_json, make_bundle
from barograph_server.rollouts.evidence.verify import verify
from barograph_server.warehouse.client import Client

DAYS_CONTENT = [{"slice": "all", "days": ["2026-05-01"], "sums": {"pairs": [1.0]}}]
PROVENANCE_CONTENT: dict[str, Any] = {
    "model": "m",
    "contract_id": "c",
    "baselines": [{"version": "3", "baseline_id": "b", "effective_from": "2026-05-01T00:00:00+00:00"}],
    "offsets": {
        topic: [{"epoch": 0, "partition": 0, "first": 0, "last": 9}]
        for topic in ("predictions", "labels", "shadow_predictions")
    },
    "since": 10,
    "until": 100,
    "matured_until": 50,
}


class Reached(Exception):
    """The verification reads from the warehouse."""


class NoClient:
    def __getattr__(self, name: str) -> object:
        raise Reached


def check(provenance: Any, days: Any) -> None:
    parts = dict.fromkeys(PARTS, b"{}") | {PROVENANCE: encode_json(provenance), DAYS: encode_json(days)}
    verify(cast("Client", NoClient()), make_bundle(parts)[0])


def test_parts_of_another_shape_are_an_error() -> None:
    with pytest.raises(Reached):
        check(PROVENANCE_CONTENT, DAYS_CONTENT)
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda p: p.update(offsets=[]),
        lambda p: p["offsets"].pop("labels"),
        lambda p: p["offsets"]["labels"][0].update(last=2**70),
        lambda p: p.update(until=-1),
        lambda p: p.update(decision_rules="2"),
        lambda p: p["baselines"][0].pop("version"),
        lambda p: p.pop("model"),
    ]
    for change in changes:
        provenance = copy.deepcopy(PROVENANCE_CONTENT)
        change(provenance)
        with pytest.raises(BundleError, match=r"The part provenance\.json is not complete"):
            check(provenance, DAYS_CONTENT)
    other_days: list[Any] = [[{"slice": "all"}], [{"days": []}], [{"slice": "all", "days": [1]}], {}]
    for days in other_days:
        with pytest.raises(BundleError, match=r"The part days\.json is not complete"):
            check(PROVENANCE_CONTENT, days)
