import dataclasses
from typing import Any

import msgspec
import numpy as np
from barograph.contract import ShadowTest

from barograph_server.sketches.rollout.looks import decide_at, look_days
from barograph_server.sketches.rollout.shadow_days import COUNTED, ShadowDays

SHADOW = ShadowTest(candidate="4", of="3", margins={"accuracy": 0.02, "missing": 0.1})
NAMES = tuple(f"2026-05-{day:02}" for day in range(1, 32))


def days(name: str, n: int = 31, *, ended: int = 31, seed: int = 1, **changes: Any) -> ShadowDays:
    rng = np.random.default_rng(seed)
    sums = {column: np.zeros(n) for column in COUNTED}
    sums |= {column: np.full(n, 200.0) for column in ("requests", "pairs", "labelled", "compared")}
    sums |= {column: rng.poisson(20, 31)[:n].astype(np.float64) for column in ("candidate_right", "primary_right")}
    sums |= changes.pop("sums", {})
    missing = changes.pop("missing", {"timeout": np.ones(n)})
    return ShadowDays(
        **{"slice": name, "days": NAMES[:n], "ended": np.arange(n) < ended, "mature": np.arange(n) < ended}
        | {"sums": sums, "missing": missing}
    )


def test_a_look_depends_only_on_the_days_up_to_it() -> None:
    before = look_days(SHADOW, "basis", [days("all", 20), days("country=de", 20)])
    after = look_days(SHADOW, "basis", [days("all"), days("country=de")])
    assert after[:20] == before
    assert [each.day for each in after] == list(NAMES)
    assert len({each.inputs for each in after}) == 31
    early = decide_at(SHADOW, [days("all"), days("country=de")], NAMES[19])
    alone = decide_at(SHADOW, [days("all", 20), days("country=de", 20)], NAMES[19])
    assert repr(early) == repr(alone)


def test_a_change_of_a_day_changes_its_look_and_later_ones() -> None:
    usual = look_days(SHADOW, "basis", [days("all"), days("country=de")])
    labels = days("country=de")
    labels.sums["labelled"][9] += 1
    changed = look_days(SHADOW, "basis", [days("all"), labels])
    assert [each == own for each, own in zip(changed, usual, strict=True)] == [True] * 9 + [False] * 22
    late = days("all")
    late.mature[-1] = False
    assert [each == own for each, own in zip(look_days(SHADOW, "basis", [late]), usual, strict=True)][-1:] == [False]


def test_the_same_values_under_another_name_are_another_input() -> None:
    usual = look_days(SHADOW, "basis", [days("all")])
    for other in (days("all", missing={"error": np.ones(31)}), days("other")):
        slices = [days("all", sums={"requests": np.zeros(31)}), other] if other.slice != "all" else [other]
        assert not set(look_days(SHADOW, "basis", slices)) & set(usual)


def test_the_contract_and_the_rules_are_inputs() -> None:
    usual = look_days(SHADOW, "basis", [days("all")])
    wider = msgspec.structs.replace(SHADOW, margins={"accuracy": 0.03, "missing": 0.1})
    assert not set(look_days(wider, "basis", [days("all")])) & set(usual)
    assert not set(look_days(SHADOW, "other", [days("all")])) & set(usual)


def test_days_that_only_a_slice_has_are_part_of_later_looks() -> None:
    whole = days("all", 20)
    part = days("country=de", 20)
    gap = dataclasses.replace(part, days=("2026-04-30", *part.days[1:]))
    looks = look_days(SHADOW, "basis", [whole, gap])
    assert [each.day for each in looks] == list(NAMES[:20])
    assert not set(looks) & set(look_days(SHADOW, "basis", [whole, part]))
