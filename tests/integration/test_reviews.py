"""Labels of people: which answers are chosen, what is stored, and how reviewers agree; on the real engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.review_queue import ReviewQueue, read_queue, uniform_hash
from barograph_server.warehouse.evaluation.reviews import (
    Review,
    read_reviews,
    review_agreement,
    store_reviews,
    unsent_gold,
)
from barograph_server.warehouse.tables import insert_rows
from tests.support.reviewed_answers import AT, EVALUATOR, SOURCE, answer_row, evaluation_row, store
from tests.support.warehouse import row

pytestmark = pytest.mark.engine
N = 400


def review(event_id: str, reviewer: str = "ana", label: str = "faulty", **changes: Any) -> Review:
    plain = Review(EVALUATOR, event_id, "1", reviewer, datetime.now(UTC), label, "random", 0.1)
    return replace(plain, **changes)


def ids(queue: ReviewQueue) -> set[str]:
    return {item.id for item in queue.items}


@pytest.fixture
def answers(client: Client) -> Client:
    rows = [answer_row(f"a{i}") for i in range(N)]
    rows += [evaluation_row(f"a{i}", "faulty" if i % 4 == 0 else "sound") for i in range(N)]
    # Without text, without a result, without an evaluation: nobody can review these.
    rows += [answer_row("t", text=""), evaluation_row("t", "sound")]
    rows += [answer_row("e"), evaluation_row("e", "", error="answer-cut"), answer_row("n")]
    store(client, rows)
    return client


def test_a_random_part_is_chosen_by_hash_of_the_id(answers: Client) -> None:
    queue = read_queue(answers, SOURCE, [], "ana", "gold", 0.25)
    expected = {f"a{i}" for i in range(N) if uniform_hash("gold", EVALUATOR, f"a{i}") < 0.25}
    assert 50 < len(expected) < 150
    assert ids(queue) == expected
    assert {(item.version, item.reason, item.probability) for item in queue.items} == {("1", "random", 0.25)}
    assert read_queue(answers, SOURCE, [], "ana", "gold", 0.25) == queue
    assert ids(read_queue(answers, SOURCE, [], "ana", "gold", 0.5)) > expected
    assert ids(read_queue(answers, SOURCE, [], "ana", "gold", 1.0)) == {f"a{i}" for i in range(N)}
    # Another reviewer gets the same sample, in another order.
    other = read_queue(answers, SOURCE, [], "ben", "gold", 0.25)
    assert ids(other) == expected
    assert other.items != queue.items


def test_a_share_of_the_answers_goes_to_two_reviewers(answers: Client) -> None:
    first = read_queue(answers, SOURCE, [], "ana", "gold", 0.5, 0.3)
    done = [review(item.id, "ana") for item in first.items]
    assert read_queue(answers, SOURCE, done, "ana", "gold", 0.5, 0.3).items == ()
    second = read_queue(answers, SOURCE, done, "ben", "gold", 0.5, 0.3)
    assert ids(second) == {each for each in ids(first) if uniform_hash("second", EVALUATOR, each) < 0.3}
    assert 0 < len(second.items) < len(first.items)
    done += [review(item.id, "ben") for item in second.items]
    assert read_queue(answers, SOURCE, done, "eva", "gold", 0.5, 0.3).items == ()


def test_labels_for_learning_do_not_thin_out_gold(answers: Client) -> None:
    """A random part without the uncertain answers would be biased."""
    everything = read_queue(answers, SOURCE, [], "ana", "gold", 1.0, 0.0)
    learned = [review(f"a{i}", "ana", reason="uncertain", probability=1.0) for i in range(10)]
    left = read_queue(answers, SOURCE, learned, "ana", "gold", 1.0, 0.0)
    assert ids(everything) - ids(left) == {f"a{i}" for i in range(10)}
    assert sorted(left.adopted, key=lambda each: each.id) == [
        replace(each, reason="random", probability=1.0) for each in sorted(learned, key=lambda each: each.id)
    ]
    assert ids(read_queue(answers, SOURCE, learned, "ben", "gold", 1.0, 0.0)) == ids(everything)


def test_uncertain_and_disagreeing_answers_for_learning(client: Client) -> None:
    n = 39
    rows = [answer_row(f"a{i}") for i in range(n)]
    rows += [evaluation_row(f"a{i}", "faulty" if i < 10 else "sound", float(i)) for i in range(n)]
    rows += [answer_row("split"), evaluation_row("split", "", error="judge-disagreement")]
    rows += [evaluation_row("a30", "faulty", model="bot.judge"), evaluation_row("a31", "sound", model="bot.judge")]
    store(client, rows)
    queue = read_queue(client, SOURCE, [], "ana", "learning", 1.0)
    reasons = {item.id: item.reason for item in queue.items}
    # The boundary is at 9.5: the nearest tenth of the 39 scores, and those equally near, are 8 to 11.
    assert reasons == {**dict.fromkeys(["a8", "a9", "a10", "a11", "split"], "uncertain"), "a30": "disagreement"}
    half = read_queue(client, SOURCE, [], "ana", "learning", 0.5)
    assert ids(half) == {each for each in reasons if uniform_hash("learning", EVALUATOR, each) < 0.5}
    done = [review("a30", "ana", reason="disagreement")]
    assert "a30" not in ids(read_queue(client, SOURCE, done, "ana", "learning", 1.0))


def test_the_latest_label_of_a_reviewer_counts(client: Client) -> None:
    at = AT
    store_reviews(client, [review("a", at=at), review("b", at=at), review("a", "ben", "unsure", at=at, note="“?”")])
    store_reviews(client, [review("a", label="sound", at=at + timedelta(seconds=1))])
    store_reviews(client, [review("b", label="", at=at + timedelta(seconds=1))])
    assert [(each.id, each.reviewer, each.label, each.note) for each in read_reviews(client, EVALUATOR)] == [
        ("a", "ben", "unsure", "“?”"),
        ("a", "ana", "sound", ""),
    ]
    assert [each.label for each in read_reviews(client, EVALUATOR, reviewer="ana")] == ["sound"]
    assert read_reviews(client, "other") == []


def test_gold_that_is_not_recorded_yet(client: Client) -> None:
    at = AT
    store_reviews(client, [review(name, at=at) for name in "abc"])
    store_reviews(client, [review("d", label="unsure"), review("e", reason="uncertain")])
    ms = int(at.timestamp() * 1000)
    stored = [
        row("labels", model=EVALUATOR, id="a", label="faulty", at=ms, received_at=ms, offset=1),
        row("labels", model=EVALUATOR, id="b", label="faulty", at=ms - 1, received_at=ms, offset=2),
    ]
    insert_rows(client, "labels", stored)
    assert [each.id for each in unsent_gold(client, EVALUATOR)] == ["b", "c"]
    assert unsent_gold(client, EVALUATOR, "ben") == []


def test_agreement_of_reviewers_and_their_weeks(client: Client) -> None:
    monday = datetime(2026, 11, 2, tzinfo=UTC)
    labels = {"a": ("faulty", "faulty"), "b": ("sound", "faulty"), "c": ("sound", "sound"), "d": ("unsure", "sound")}
    for event_id, pair in labels.items():
        store_reviews(
            client,
            [
                review(event_id, name, label, at=monday + timedelta(days=7 if event_id == "d" else 0))
                for name, label in zip(("ana", "ben"), pair, strict=True)
            ],
        )
    result = review_agreement(read_reviews(client, EVALUATOR))
    # Three pairs, one of which differs: 1 − 5·2/(36 − 18).
    assert result.agreement.alpha == pytest.approx(1 - 5 * 2 / 18)
    assert result.agreement.items == 3
    assert [(each.id, each.labels) for each in result.disagreements] == [("b", {"ana": "sound", "ben": "faulty"})]
    assert [(each.reviewer, each.week.day, each.labels, each.faulty, each.unsure) for each in result.weeks] == [
        *(("ana", 2, 3, 1, 0), ("ana", 9, 1, 0, 1)),
        *(("ben", 2, 3, 2, 0), ("ben", 9, 1, 0, 0)),
    ]
    assert review_agreement([]).agreement.items == 0
