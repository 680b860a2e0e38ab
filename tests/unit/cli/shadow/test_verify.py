"""A bundle with new digests and parts of another shape is an error, before anything is read from the warehouse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import pytest

from cli.shadow.bundle import DAYS, PARTS, PROVENANCE, BundleError, encode_json, make_bundle
from cli.shadow.verify import verify
from warehouse.client import Client

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
    "libraries": {"numpy": "2.0"},
}


class Reached(Exception):
    """The verification reads from the warehouse."""


class NoClient:
    def __getattr__(self, name: str) -> object:
        raise Reached


def check(provenance: Any, days: Any) -> None:
    parts = dict.fromkeys(PARTS, b"{}") | {PROVENANCE: encode_json(provenance), DAYS: encode_json(days)}
    verify(cast("Client", NoClient()), make_bundle(parts)[0])


def test_parts_of_the_right_shape_are_accepted() -> None:
    with pytest.raises(Reached):
        check(PROVENANCE_CONTENT, DAYS_CONTENT)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: p.update(offsets=[]), id="offsets"),
        pytest.param(lambda p: p["offsets"].pop("labels"), id="topic"),
        pytest.param(lambda p: p["offsets"]["labels"][0].update(last=2**70), id="last"),
        pytest.param(lambda p: p.pop("libraries"), id="libraries"),
        pytest.param(lambda p: p.update(until=-1), id="until"),
        pytest.param(lambda p: p["baselines"][0].pop("version"), id="baseline"),
        pytest.param(lambda p: p.pop("model"), id="model"),
    ],
)
def test_provenance_of_another_shape_is_an_error(change: Callable[[dict[str, Any]], object]) -> None:
    provenance = copy.deepcopy(PROVENANCE_CONTENT)
    change(provenance)
    with pytest.raises(BundleError, match=r"The part provenance\.json is not complete"):
        check(provenance, DAYS_CONTENT)


@pytest.mark.parametrize(
    "days",
    [
        pytest.param([{"slice": "all"}], id="no-days"),
        pytest.param([{"days": []}], id="no-slice"),
        pytest.param([{"slice": "all", "days": [1]}], id="numbers"),
        pytest.param({}, id="no-list"),
    ],
)
def test_days_of_another_shape_are_an_error(days: object) -> None:
    with pytest.raises(BundleError, match=r"The part days\.json is not complete"):
        check(PROVENANCE_CONTENT, days)
