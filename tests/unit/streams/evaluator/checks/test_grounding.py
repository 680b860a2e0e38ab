"""The share of an answer that is in the context, and passages of documents."""

from __future__ import annotations

import time

import pytest

from barograph_server.streams.evaluator.checks.errors import MAX_ANSWER_CHARS, AnswerCheckError
from barograph_server.streams.evaluator.checks.grounding import MAX_CONTEXT_CHARS, GroundingContext, measure_grounding
from barograph_server.streams.evaluator.checks.passages import MAX_PASSAGE_CHARS, PassageIndex, divide

CONTEXT = "Customers may return goods within 30 days of delivery. Opened software cannot be returned."


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (CONTEXT, 1.0),
        ("CUSTOMERS may return goods within thirty days.", 1.0),
        ("Bicycles are lent to members.", 0.0),
        # five n-grams, three of them in the context
        ("Customers may return goods within 31 days.", 3 / 5),
        ("Software.", 1.0),
        ("", None),
    ],
)
def test_values(answer: str, value: float | None) -> None:
    assert measure_grounding(answer, GroundingContext([CONTEXT])).value == value


def test_the_least_supported_sentence() -> None:
    answer = "Customers may return goods. It takes 1.5 hours at the counter! Opened software cannot be returned."
    result = measure_grounding(answer, GroundingContext(["Nothing.", CONTEXT]))
    assert result.least_span is not None
    assert answer[slice(*result.least_span)] == "It takes 1.5 hours at the counter"
    assert result.least_value == 0.0
    # 2, 5 and 4 n-grams; those of the second sentence are not in the context
    assert result.value == pytest.approx((2 + 4) / (2 + 5 + 4))


def test_arguments_that_cannot_be_used() -> None:
    with pytest.raises(AnswerCheckError, match="at least 1 token"):
        measure_grounding("a", GroundingContext(["a"]), 0)
    with pytest.raises(AnswerCheckError, match="at most 2,000,000"):
        measure_grounding("a", GroundingContext(["a" * MAX_CONTEXT_CHARS, "b"]))


@pytest.mark.parametrize("piece", ["a", "word ", ".", ". ", ".)", "\n", "مرحبا ", "退货", "\x00", "\u202eé"])
def test_hostile_text_takes_bounded_time(piece: str) -> None:
    text = piece * ((MAX_ANSWER_CHARS + 1_000) // len(piece))
    started = time.process_time()
    result = measure_grounding(text, GroundingContext([text]))
    assert time.process_time() - started < 20
    assert result.unread_chars == len(text) - MAX_ANSWER_CHARS


WORDS = "Customers may return goods within 30 days"


@pytest.mark.parametrize(
    ("text", "end_of_first"),
    [
        (f"{'a' * 600}\n\n{'b. ' * 300}", "a\n\n"),
        (f"{'a ' * 300}\n\n\n  {'b' * 5_000}", " \n\n\n"),
        (f"{'a ' * 400}ends. {'b ' * 400}", "ends. "),
        (f"{'a' * 700} {'b' * 700}", "a "),
        ("a" * 2_500, "aaa"),
    ],
)
def test_passages_end_after_a_paragraph_sentence_or_word_and_are_the_whole_text(text: str, end_of_first: str) -> None:
    passages = divide("d", text)
    assert passages[0].text.rstrip(" ").endswith(end_of_first.rstrip(" "))
    assert "".join(each.text for each in passages) == text
    assert [text[each.start : each.end] for each in passages] == [each.text for each in passages]
    assert max(len(each.text) for each in passages) <= MAX_PASSAGE_CHARS


def test_passages_without_text_are_left_out_and_too_long_documents_an_error() -> None:
    passages = divide("d", "a" + "\n" * 5_000 + "b")
    assert [each.text.strip() for each in passages] == ["a", "b"]
    assert divide("d", "") == []
    with pytest.raises(AnswerCheckError, match="2,000,001 characters"):
        PassageIndex({"a": "a" * (MAX_CONTEXT_CHARS // 2), "b": "b" * (MAX_CONTEXT_CHARS // 2 + 1)})


def test_rare_words_and_words_in_the_same_order_weigh_more() -> None:
    index = PassageIndex(
        {"b": "Goods may days within 30 return customers.", "a": WORDS, "c": "May I?", "d": "Bicycles."}
    )
    assert [each.document_id for each in index.passages] == ["a", "b", "c", "d"]
    weights = index.overlaps(WORDS)
    assert weights[0] > weights[1] > weights[2]
    assert 3 not in weights
    bicycle, may = index.overlaps("bicycles"), index.overlaps("may")
    assert bicycle[3] > may[0] == may[1] == may[2]
    assert index.overlaps("", "Nothing shared") == {}
