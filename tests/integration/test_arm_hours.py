"""Windows of two arms that are compared, and the end of the last of them, on real ClickHouse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from streams.registry.registry import build_registry
from streams.scorer.rules import make_rules
from tests.integration.test_scorer_prompts import CONTRACT
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS
from tests.support.warehouse import row
from warehouse.arm_hours import MAX_DAYS, arm_hours, newest_end
from warehouse.client import Client
from warehouse.scoring.rules import Rules
from warehouse.tables import insert_rows

pytestmark = pytest.mark.engine

FIRST_S, HOUR_S, DAY_S = START_MS // 1000, HOUR_MS // 1000, DAY_MS // 1000


@pytest.fixture
def rules() -> Rules:
    return make_rules(CONTRACT, build_registry([(CONTRACT, 1)], []))


def write_hours(client: Client, rules: Rules, arm: str, starts_s: Sequence[int], predictions: int = 10) -> None:
    assert rules.arms is not None
    own = {"model": "m", "basis": rules.basis, "unit": rules.arms.unit, "slice": "all", "window_s": HOUR_S, "arm": arm}
    own |= {"predictions": predictions, "records": predictions}
    insert_rows(client, "arm_counts", [row("arm_counts", window_start=each, **own) for each in starts_s])


def newest(client: Client, rules: Rules) -> int:
    assert rules.arms is not None
    return newest_end(client, "m", rules.arms, "answer@7", "answer@8", rules.basis)


def test_without_an_hour_of_both_arms_there_is_no_end(client: Client, rules: Rules) -> None:
    assert newest(client, rules) == 0
    write_hours(client, rules, "answer@7", [FIRST_S])
    write_hours(client, rules, "answer@8", [FIRST_S + HOUR_S])
    assert newest(client, rules) == 0


def test_hours_of_one_arm_and_hours_after_the_last_day_give_no_look(client: Client, rules: Rules) -> None:
    assert rules.arms is not None
    late_s = FIRST_S + MAX_DAYS * DAY_S
    both = [FIRST_S, FIRST_S + 2 * HOUR_S]
    write_hours(client, rules, "answer@7", [*both, FIRST_S + 3 * HOUR_S, FIRST_S + 4 * HOUR_S, late_s])
    write_hours(client, rules, "answer@8", [*both, late_s])
    write_hours(client, rules, "answer@8", [FIRST_S + 4 * HOUR_S], predictions=0)
    hours = arm_hours(client, "m", rules.arms, "answer@7", "answer@8", rules.basis, ())
    assert hours is not None
    assert hours.ends.tolist() == [each + HOUR_S for each in both]
    assert newest(client, rules) == hours.ends[-1]
    assert np.all(hours.sums["predictions"].sum(axis=-1) == 10)
    # The hour before the limit is compared.
    write_hours(client, rules, "answer@7", [late_s - HOUR_S])
    write_hours(client, rules, "answer@8", [late_s - HOUR_S])
    assert newest(client, rules) == late_s
