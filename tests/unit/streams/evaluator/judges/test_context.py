"""The context of an answer, selected from documents."""

from __future__ import annotations

import pytest

from barograph_server.streams.evaluator.checks.errors import AnswerCheckError
from barograph_server.streams.evaluator.judges.context import MAX_CONTEXT_CHARS, OMISSION, DocumentContext

DOCUMENTS = {
    "shipping": "Parcels arrive within three working days.",
    "returns": "Customers may return goods within 30 days of delivery.\n",
    "empty": " \n",
}


def paragraphs(word: str, n: int = 30) -> str:
    return "\n\n".join(f"Paragraph {word}{i} has this. {f'{word} ' * (480 // (len(word) + 1))}" for i in range(n))


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("How long may I return?", "Within 60 days [returns].", ["returns"]),
        (
            "How long?",
            "“Customers may return goods” (Returns), and parcels [shipping] arrive.",
            ["returns", "shipping"],
        ),
        # An unknown or empty document, and a quote without a reference, are no citation.
        ("When does my parcel arrive?", "Soon [tariffs].", ["shipping"]),
        ("When does my parcel arrive?", "Soon [empty].", ["shipping"]),
        ("When do parcels arrive?", "“within three or four working days”", ["returns", "shipping"]),
        ("Do you sell bicycles?", "No.", []),
    ],
)
def test_cited_documents_or_else_those_that_overlap(question: str, answer: str, expected: list[str]) -> None:
    context = DocumentContext(DOCUMENTS).select(question, answer)
    assert context == "\n\n".join(f"[{each}]\n{DOCUMENTS[each].strip()}" for each in expected)


def test_of_long_documents_the_passages_that_overlap_most_are_selected_in_their_order() -> None:
    source = DocumentContext({"long": paragraphs("alpha"), **DOCUMENTS})
    context = source.select(
        "What has paragraph alpha25?", "Paragraph alpha25 and paragraph alpha3 have it [long], [returns]."
    )
    assert context.index("Paragraph alpha3 ") < context.index("Paragraph alpha25 ")
    assert OMISSION in context
    assert context.endswith("30 days of delivery.")
    assert MAX_CONTEXT_CHARS // 2 < len(context) < MAX_CONTEXT_CHARS + 200
    other = source.select("What has paragraph alpha25?", "Nothing is cited.")
    assert other.startswith(f"[long]\n{OMISSION}\nParagraph alpha") or other.startswith("[long]\nParagraph alpha")
    assert "Paragraph alpha25 " in other
    documents = {f"d{i}": paragraphs("beta", 4) for i in range(9)}
    turned = dict(reversed(documents.items()))
    exchange = "What is in paragraph beta2?", "This."
    assert DocumentContext(documents).select(*exchange) == DocumentContext(turned).select(*exchange)


def test_every_cited_document_has_a_passage_or_the_answer_cites_too_many() -> None:
    documents = {f"doc-{i}": paragraphs(f"w{i}", 12) for i in range(40)}
    source = DocumentContext(documents)
    context = source.select("", " ".join(f"[doc-{i}]" for i in range(8)))
    assert all(f"[doc-{i}]\n" in context for i in range(8))
    with pytest.raises(AnswerCheckError, match="cites 40 documents, of which"):
        source.select("", " ".join(f"[doc-{i}]" for i in range(40)))
    many = DocumentContext({f"doc-{i}": "Short." for i in range(40)})
    assert many.select("", " ".join(f"[doc-{i}]" for i in range(40))).count("Short.") == 40
