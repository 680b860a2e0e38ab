"""docs/queries.md: every query is run on three days of traffic, and its answer compared with what is known of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from tests.support.pipeline import Pipeline
from tests.support.shop import HOURS, N, Shop, make_shop, run_shop
from warehouse.client import Address

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
WRITTEN_MONDAY = date(2026, 11, 9)
QUESTION = re.compile(r"^### (\d+)\. (.+?)\n(.*?)^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)

Row = tuple[Any, ...]
Check = Callable[[list[Row], Shop], None]
CHECKS: dict[int, Check] = {}


def answers(number: int) -> Callable[[Check], Check]:
    """Say which question a check is of."""

    def note(check: Check) -> Check:
        CHECKS[number] = check
        return check

    return note


def questions() -> dict[int, str]:
    """The queries of the page by the number of their question."""
    return {int(number): sql for number, _, _, sql in QUESTION.findall(PAGE.read_text("utf-8"))}


def dated(sql: str, start: datetime) -> str:
    """A query with the page's week moved to that of the traffic."""
    shift = start.date() - WRITTEN_MONDAY

    def moved(match: re.Match[str]) -> str:
        return (date.fromisoformat(match[0]) + shift).isoformat()

    return re.sub(r"\d{4}-\d\d-\d\d", moved, sql)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def pipeline(
    broker: LocalKafka, engine: LocalClickHouse, shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """The path with all traffic counted, judged, recorded and scored."""
    made = Pipeline(
        broker.bootstrap_servers,
        Address(engine.host, engine.port, "questions"),
        "questions-",
        tmp_path_factory.mktemp("questions"),
    )
    run_shop(made, shop)
    yield made
    made.stop()


@pytest.mark.parametrize("number", sorted(questions()))
def test_every_answer_is_what_is_known(number: int, pipeline: Pipeline, shop: Shop) -> None:
    sql = dated(questions()[number], shop.start)
    CHECKS[number](pipeline.rows(sql), shop)


def test_there_are_enough_questions_and_each_is_checked() -> None:
    assert len(questions()) >= 15
    assert sorted(CHECKS) == sorted(questions())


def day_of(shop: Shop, n: int) -> date:
    return (shop.start + timedelta(days=n)).date()


def moment(value: Any) -> datetime:
    """A time as the client gives it, in UTC."""
    found: datetime = value
    return found if found.tzinfo else found.replace(tzinfo=UTC)


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
        if slow / len(latency) > 0.1:
            expected[shop.at(hour)] = (slow, len(latency))
    assert {moment(row[0]): row[1:3] for row in rows} == expected
    assert len(expected) > 0


@answers(4)
def _(rows: list[Row], shop: Shop) -> None:
    assert [tuple(value or 0 for value in row) for row in rows] == [(N, 0, 0, 0, 0)]


@answers(5)
def _(rows: list[Row], shop: Shop) -> None:
    assert rows == []


@answers(6)
def _(rows: list[Row], shop: Shop) -> None:
    since = {row[0]: moment(row[1]) for row in rows}
    # Half the traffic is arm b, whose scores differ from training's from the first hour on.
    assert set(since) == {"age", "device", "score"}
    # A fifth of the traffic is new from the 36th hour on: windows of six hours show it within their length.
    assert shop.at(36) < since["device"] <= shop.at(42)


@answers(7)
def _(rows: list[Row], shop: Shop) -> None:
    assert rows[0][0] == "country=FR"
    assert rows[0][4] == "major"
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
    assert {"amount", "device"} <= {row[0] for row in rows} <= {"amount", "device", "age", "score"}


@answers(10)
def _(rows: list[Row], shop: Shop) -> None:
    means = {row[0]: row[1] for row in rows}
    on_wednesday = shop.hour >= 48
    assert means["amount"] == pytest.approx(shop.amount[on_wednesday].mean(), abs=6e-3)
    assert means["age"] == pytest.approx(np.nanmean(shop.age[on_wednesday]), abs=6e-3)
    low = {row[0]: row[3] for row in rows}
    assert low["amount"] > 0


@answers(11)
def _(rows: list[Row], shop: Shop) -> None:
    [(since, worst, in_training)] = rows
    assert shop.at(36) < moment(since) <= shop.at(42)
    assert worst == pytest.approx(0.1, abs=0.03)
    assert in_training == 0


@answers(12)
def _(rows: list[Row], shop: Shop) -> None:
    [(field, category, first_seen, n)] = rows
    assert (field, category, moment(first_seen)) == ("device", "watch", shop.at(36))
    assert n == (shop.device == "watch").sum()


@answers(13)
def _(rows: list[Row], shop: Shop) -> None:
    assert all(row[2] > 0 and row[4] == "flag" for row in rows)


@answers(14)
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


@answers(15)
def _(rows: list[Row], shop: Shop) -> None:
    assert "device" in {row[0] for row in rows}
    assert all(row[1] == "major" and row[2] > 0.2 and row[3] >= 1 for row in rows)


@answers(16)
def _(rows: list[Row], shop: Shop) -> None:
    chosen = (shop.hour >= 48) & (shop.country == "FR")
    assert [row[2] for row in rows] == sorted(shop.amount[chosen].tolist(), reverse=True)[:10]


@answers(17)
def _(rows: list[Row], shop: Shop) -> None:
    for n, row in enumerate(rows):
        chosen = (shop.hour // 24 == n) & shop.labelled
        exact = roc_auc_score(shop.fraud[chosen], shop.score[chosen])
        assert row[:2] == (day_of(shop, n), pytest.approx(exact, abs=2e-3))
        assert row[2] < exact < row[3]
        assert row[4] == chosen.sum()
    assert len(rows) == 3


@answers(18)
def _(rows: list[Row], shop: Shop) -> None:
    [row] = rows
    assert row[8], row
    tuesday = (shop.hour // 24 == 1) & shop.labelled
    for arm, value in ((row[1], row[3]), (row[2], row[4])):
        chosen = tuesday & (shop.arm == arm)
        assert value == pytest.approx(roc_auc_score(shop.fraud[chosen], shop.score[chosen]), abs=2e-3)
    assert not row[6] <= 0 <= row[7]


@answers(19)
def _(rows: list[Row], shop: Shop) -> None:
    shares = np.array([(row[0], row[1]) for row in rows])
    delay_h = shop.label_delay_s[shop.labelled] / 3600
    exact = np.array([(delay_h <= hours).mean() for hours in shares[:, 0]])
    np.testing.assert_allclose(shares[:, 1], exact, atol=0.02)


@answers(20)
def _(rows: list[Row], shop: Shop) -> None:
    assert sum(row[1] for row in rows) == shop.labelled.sum()
    for _, n, score, rate in rows:
        assert abs(score - rate) < 4 * np.sqrt(0.25 / n)


@answers(21)
def _(rows: list[Row], shop: Shop) -> None:
    counts = {kind: n for kind, n in rows}
    assert counts["predictions"] == N
    assert counts["labelled"] == shop.labelled.sum()
    for kind in ("early", "corrections", "late", "wrong_type", "duplicates"):
        assert counts.get(kind, 0) == 0


@answers(22)
def _(rows: list[Row], shop: Shop) -> None:
    [row] = rows
    assert row[:2] == ("1", shop.baseline.id)
