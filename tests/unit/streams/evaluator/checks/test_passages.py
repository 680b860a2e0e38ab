"""Passages of documents."""

from __future__ import annotations

import pytest

from streams.evaluator.checks.errors import AnswerCheckError
from streams.evaluator.checks.grounding import MAX_CONTEXT_CHARS
from streams.evaluator.checks.passages import MAX_PASSAGE_CHARS, PassageIndex, divide

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
def test_passages_end_after_a_paragraph_a_sentence_or_a_word_and_are_the_whole_text(
    text: str, end_of_first: str
) -> None:
    passages = divide("d", text)
    assert passages[0].text.rstrip(" ").endswith(end_of_first.rstrip(" "))
    assert "".join(each.text for each in passages) == text
    assert [text[each.start : each.end] for each in passages] == [each.text for each in passages]
    assert max(len(each.text) for each in passages) <= MAX_PASSAGE_CHARS


def test_passages_without_text_are_left_out() -> None:
    passages = divide("d", "a" + "\n" * 5_000 + "b")
    assert [each.text.strip() for each in passages] == ["a", "b"]
    assert divide("d", "") == []


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


def test_documents_that_are_too_long_are_an_error() -> None:
    with pytest.raises(AnswerCheckError, match="2,000,001 characters"):
        PassageIndex({"a": "a" * (MAX_CONTEXT_CHARS // 2), "b": "b" * (MAX_CONTEXT_CHARS // 2 + 1)})
