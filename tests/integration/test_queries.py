"""docs/queries.md: every query runs on three days of traffic, and its result is compared with the known answer."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.support.pipeline import Pipeline
from tests.support.shop_model import HOURS, SILENT_HOUR, Shop, questions

Row = tuple[Any, ...]
Check = Callable[[list[Row], Shop], None]
CHECKS: dict[int, Check] = {}
QUESTIONS = {question.number: question for question in questions()}


def answers(number: int) -> Callable[[Check], Check]:
    def note(check: Check) -> Check:
        CHECKS[number] = check
        return check

    return note


@pytest.mark.parametrize("number", sorted(QUESTIONS))
def test_every_answer_equals_the_known_one(number: int, shop_pipeline: Pipeline, shop: Shop) -> None:
    CHECKS[number](shop_pipeline.rows(QUESTIONS[number].in_week(shop.start.date())), shop)


def test_there_are_enough_questions_and_each_is_checked() -> None:
    assert len(QUESTIONS) >= 15
    assert sorted(CHECKS) == sorted(QUESTIONS)


def test_the_pager_has_no_page_before_the_verdict(shop_pipeline: Pipeline, shop: Shop) -> None:
    sql = QUESTIONS[16].in_week(shop.start.date())
    window = f"window = '6h' AND window_end = toDateTime({int(shop.at(54).timestamp())})"
    first = f"(SELECT min(judged_at) FROM drift WHERE slice = 'all' AND {window})"
    assert shop_pipeline.rows(sql.replace("now64()", first))
    assert shop_pipeline.rows(sql.replace("now64()", f"{first} - INTERVAL 1 MILLISECOND")) == []


def day_of(shop: Shop, n: int) -> date:
    return (shop.start + timedelta(days=n)).date()


def moment(value: Any) -> datetime:
    result: datetime = value
    return result if result.tzinfo else result.replace(tzinfo=UTC)


@answers(1)
def _(rows: list[Row], shop: Shop) -> None:
    for n, row in enumerate(rows):
        in_day = shop.hour // 24 == n
        failed = int(shop.failed[in_day].sum())
        assert row == (day_of(shop, n), in_day.sum(), failed, pytest.approx(failed / in_day.sum(), abs=1e-4))
    assert len(rows) == 3
    assert rows[2][2] > 0


@answers(2)
def _(rows: list[Row], shop: Shop) -> None:
    assert rows == [("Timeout", day_of(shop, 2), shop.failed.sum())]


@answers(3)
def _(rows: list[Row], shop: Shop) -> None:
    expected = {}
    for hour in range(HOURS):
        latency = shop.latency_ms[shop.hour == hour]
        slow = int((latency > 14).sum())
        if slow > 0.1 * len(latency):
            expected[shop.at(hour)] = (slow, len(latency))
    assert {moment(row[0]): row[1:3] for row in rows} == expected
    assert len(expected) > 0


@answers(4)
def _(rows: list[Row], shop: Shop) -> None:
    assert [tuple(value or 0 for value in row) for row in rows] == [(shop.n, 0, 0, 0, 0)]


@answers(5)
def _(rows: list[Row], shop: Shop) -> None:
    assert [moment(start) for (start,) in rows] == [shop.at(SILENT_HOUR)]


@answers(6)
def _(rows: list[Row], shop: Shop) -> None:
    since = {row[0]: moment(row[1]) for row in rows}
    # Half the traffic is arm b, whose scores differ from training's from the first hour on.
    assert set(since) == {"age", "device", "score"}
    # A fifth of the traffic is new from the 36th hour on: windows of six hours show it within their length.
    assert shop.at(36) < since["device"] <= shop.at(42)


@answers(7)
def _(rows: list[Row], shop: Shop) -> None:
    assert (rows[0][0], rows[0][4]) == ("country=FR", "major")
    on_wednesday = shop.hour >= 48
    for row in rows:
        country = row[0].removeprefix("country=")
        assert row[1] == (on_wednesday & (shop.country == country)).sum()
        assert country == "FR" or row[4] in ("stable", "insufficient")


@answers(8)
def _(rows: list[Row], shop: Shop) -> None:
    frozen = next(field for field in shop.baseline.fields if field.name == "amount")
    values = shop.amount[shop.hour == 24 + 14]
    counts = np.bincount(np.searchsorted(frozen.edges, values, side="right"), minlength=len(frozen.edges) + 1)
    expected = frozen.slices["all"].cells
    assert len(rows) == len(counts)
    for bin_, row in enumerate(rows):
        assert row[0] == bin_
        assert row[2] == pytest.approx(expected[bin_] / sum(expected), abs=5e-4)
        assert row[3] == pytest.approx(counts[bin_] / counts.sum(), abs=5e-4)


@answers(9)
def _(rows: list[Row], shop: Shop) -> None:
    chosen = shop.device[(shop.hour >= 36) & (shop.hour < 60) & (shop.country == "FR")]
    known = {"phone": "phone", "desktop": "desktop", "watch": "(not in training)"}
    expected = {known[device]: (chosen == device).sum() for device in known} | {"(null)": 0}
    assert {row[0]: row[1] for row in rows} == expected
    assert [row[2] for row in rows] == [pytest.approx(row[1] / len(chosen), abs=5e-4) for row in rows]


@answers(10)
def _(rows: list[Row], shop: Shop) -> None:
    assert {"amount", "device"} <= {row[0] for row in rows} <= {"amount", "device", "age", "score"}


@answers(11)
def _(rows: list[Row], shop: Shop) -> None:
    means = {row[0]: row[1] for row in rows}
    on_wednesday = shop.hour >= 48
    assert means["amount"] == pytest.approx(shop.amount[on_wednesday].mean(), abs=6e-3)
    assert means["age"] == pytest.approx(np.nanmean(shop.age[on_wednesday]), abs=6e-3)
    low = {row[0]: row[3] for row in rows}
    assert low["amount"] > 0


@answers(12)
def _(rows: list[Row], shop: Shop) -> None:
    [(since, worst, in_training)] = rows
    assert shop.at(36) < moment(since) <= shop.at(42)
    assert worst == pytest.approx(0.1, abs=0.03)
    assert in_training == 0


@answers(13)
def _(rows: list[Row], shop: Shop) -> None:
    [(field, category, first_seen, n)] = rows
    assert (field, category, moment(first_seen)) == ("device", "watch", shop.at(36))
    assert n == (shop.device == "watch").sum()


@answers(14)
def _(rows: list[Row], shop: Shop) -> None:
    broken = np.isnan(shop.age)
    of = np.isin(shop.hour, np.unique(shop.hour[broken])).sum()
    assert rows == [("age", "null", broken.sum(), pytest.approx(broken.sum() / of, abs=1e-4), "flag")]
    assert broken.sum() > 0


@answers(15)
def _(rows: list[Row], shop: Shop) -> None:
    for n, row in enumerate(rows):
        values = shop.amount[shop.hour // 24 == n]
        assert row == (
            day_of(shop, n),
            len(values),
            pytest.approx(values.mean(), abs=1e-3),
            pytest.approx(values.std(ddof=1), abs=1e-3),
        )
    assert len(rows) == 3


@answers(16)
def _(rows: list[Row], shop: Shop) -> None:
    assert "device" in {row[0] for row in rows}
    assert all(row[1] == "major" and row[2] > 0.2 and row[3] >= 1 for row in rows)


@answers(17)
def _(rows: list[Row], shop: Shop) -> None:
    chosen = (shop.hour >= 48) & (shop.country == "FR")
    assert [row[2] for row in rows] == sorted(shop.amount[chosen].tolist(), reverse=True)[:10]


@answers(18)
def _(rows: list[Row], shop: Shop) -> None:
    tuesday = shop.hour // 24 == 1
    result = {(row[0], row[1]): row[2:] for row in rows}
    assert rows[0][:2] == ("score", "psi")
    assert result["score", "psi"][-1] == "major"
    for field, values in (("score", shop.score), ("latency_ms", shop.latency_ms)):
        control, arm, difference, low, high, _ = result[field, "mean"]
        assert control == pytest.approx(values[tuesday & (shop.arm == "a")].mean(), rel=1e-6)
        assert arm == pytest.approx(values[tuesday & (shop.arm == "b")].mean(), rel=1e-6)
        assert difference == pytest.approx(arm - control)
        assert low < difference < high
    assert result["events", "error_rate"][:3] == (0, 0, 0)


@answers(19)
def _(rows: list[Row], shop: Shop) -> None:
    for n, row in enumerate(rows):
        chosen = (shop.hour // 24 == n) & shop.labelled
        exact = roc_auc_score(shop.fraud[chosen], shop.score[chosen])
        assert row[:2] == (day_of(shop, n), pytest.approx(exact, abs=2e-3))
        assert row[2] < exact < row[3]
        assert row[4] == chosen.sum()
    assert len(rows) == 3


@answers(20)
def _(rows: list[Row], shop: Shop) -> None:
    assert [row[0] for row in rows] == ["accuracy", "auc"]
    tuesday = (shop.hour // 24 == 1) & shop.labelled
    for metric, *arms, value, other_value, low, high, n, other_n, sufficient, _ in rows:
        for arm, measured, labelled in zip(arms, (value, other_value), (n, other_n), strict=True):
            chosen = tuesday & (shop.arm == arm)
            truth, score = shop.fraud[chosen], shop.score[chosen]
            exact = roc_auc_score(truth, score) if metric == "auc" else (truth == (score >= 0.5)).mean()
            assert (measured, labelled) == (pytest.approx(exact, abs=2e-3), chosen.sum())
        assert low < value - other_value < high < 0
        assert sufficient


@answers(21)
def _(rows: list[Row], shop: Shop) -> None:
    shares = np.array([(row[0], row[1]) for row in rows])
    delay_h = shop.label_delay_s[shop.labelled] / 3600
    exact = np.array([(delay_h <= hours).mean() for hours in shares[:, 0]])
    np.testing.assert_allclose(shares[:, 1], exact, atol=0.02)


@answers(22)
def _(rows: list[Row], shop: Shop) -> None:
    assert sum(row[1] for row in rows) == shop.labelled.sum()
    for _, n, score, rate in rows:
        assert abs(score - rate) < 4 * np.sqrt(0.25 / n)


@answers(23)
def _(rows: list[Row], shop: Shop) -> None:
    counts = {kind: n for kind, n in rows}
    assert counts["predictions"] == shop.n
    assert counts["labelled"] == shop.labelled.sum()
    for kind in ("early", "corrections", "late", "wrong_type", "duplicates"):
        assert counts.get(kind, 0) == 0


@answers(24)
def _(rows: list[Row], shop: Shop) -> None:
    [row] = rows
    assert row[:2] == ("1", shop.baseline.id)


@answers(25)
def _(rows: list[Row], shop: Shop) -> None:
    [(model, since, worst)] = rows
    assert model == shop.contract.model
    # The scores of arm b from the first window that holds enough of them, then the new device.
    assert shop.start < moment(since) <= shop.at(6)
    assert worst > 1


@answers(26)
def _(rows: list[Row], shop: Shop) -> None:
    # The shop has no candidate: tests/integration/test_shadow_looks.py has one.
    assert rows == []
