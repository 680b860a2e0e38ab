"""The quotes and references of an answer."""

from __future__ import annotations

import pytest

from streams.evaluator.checks.claims import MAX_CLAIMS, claims_of_answer, claims_of_list
from streams.evaluator.checks.documents import DocumentSet
from streams.evaluator.checks.errors import AnswerCheckError
from streams.evaluator.checks.limits import MAX_ANSWER_CHARS

DOCUMENTS = DocumentSet({"doc-3": "Text.", "Returns": "Text."})


def claims(answer: str) -> list[tuple[str | None, str | None]]:
    return [(claim.document_id, claim.quote) for claim in claims_of_answer(answer, DOCUMENTS).claims]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('"It is so" [doc-3]', [("doc-3", "It is so")]),
        ("“It is so” (doc-3).", [("doc-3", "It is so")]),
        ("„It is so“ [doc-3]", [("doc-3", "It is so")]),
        ("«It is so» [doc-3]", [("doc-3", "It is so")]),
        ('[doc-3]: "It is so"', [("doc-3", "It is so")]),
        ('[doc-3] says "It is so".', [("doc-3", "It is so")]),
        ('"One" [doc-3] and "two" [returns]', [("doc-3", "One"), ("returns", "two")]),
        ('"It is so" [doc-3, doc-4]', [("doc-3", "It is so"), ("doc-4", "It is so")]),
        ('"It is so" (other)', [("other", "It is so")]),
        ("It is so [doc-3].", [("doc-3", None)]),
        ("It is so (doc-99).", [("doc-99", None)]),
        ("It is so [other].", [("other", None)]),
        ("It is so【doc-3】.", [("doc-3", None)]),
        ("It is so (see below), in (2026) [the shop].", []),
        ("- [x] It is so [sic]", []),
        ("[doc-3](page) is a link", []),
        ("The button “Send it” is green.", []),
        ("“The parcel is not late today” is a quote.", [(None, "The parcel is not late today")]),
        ("“[doc-3] is inside”", []),
        ("", []),
    ],
)
def test_claims_of_an_answer(answer: str, expected: list[tuple[str | None, str | None]]) -> None:
    assert claims(answer) == expected


def test_a_reference_without_quote_has_its_sentence() -> None:
    (claim,) = claims_of_answer("Wait. It takes 1.5 days [doc-3]. Yes.", DOCUMENTS).claims
    assert claim.statement == "It takes 1.5 days"


def test_positions_are_those_of_the_answer() -> None:
    answer = "So: “It is so” [doc-3]."
    (claim,) = claims_of_answer(answer, DOCUMENTS).claims
    assert answer[claim.start : claim.end] == "“It is so”"


def test_what_is_not_read_is_counted() -> None:
    many = claims_of_answer("[doc-3] " * (MAX_CLAIMS + 5), DOCUMENTS)
    assert (len(many.claims), many.omitted) == (MAX_CLAIMS, 5)
    assert claims_of_answer("a" * (MAX_ANSWER_CHARS + 7), DOCUMENTS).unread_chars == 7
    assert claims_of_list(["doc-3"] * (MAX_CLAIMS + 5)).omitted == 5
    assert claims_of_list([{"id": "doc-3", "quote": "a" * MAX_ANSWER_CHARS}] * 2).omitted == 1


def test_claims_of_a_list() -> None:
    listed = claims_of_list(["doc-3", {"document": "doc-3", "quote": "It"}, {"id": 7, "text": None}])
    assert [(claim.document_id, claim.quote) for claim in listed.claims] == [
        ("doc-3", None),
        ("doc-3", "It"),
        ("7", None),
    ]


@pytest.mark.parametrize("entry", [3, None, ["doc-3"], {}, {"quote": "a"}, {"id": True}, {"id": "a", "quote": 3}])
def test_a_wrong_entry_of_a_list_names_its_index(entry: object) -> None:
    with pytest.raises(AnswerCheckError, match=r"citations\[1\]"):
        claims_of_list(["doc-3", entry])
