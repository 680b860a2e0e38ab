"""Quotes and references of an answer are found, and quotes supported, altered or unsupported."""

from __future__ import annotations

import time

import pytest

from barograph_server.streams.evaluator.checks.citations import (
    CitationResult,
    CitationScope,
    CitationStatus,
    check_answer_citations,
    check_claim,
    check_claims,
)
from barograph_server.streams.evaluator.checks.claims import (
    MAX_CLAIMS,
    MAX_QUOTE_CHARS,
    SourceClaim,
    claims_of_answer,
    claims_of_list,
)
from barograph_server.streams.evaluator.checks.differences import DifferenceKind
from barograph_server.streams.evaluator.checks.documents import MAX_DOCUMENT_CHARS, DocumentSet
from barograph_server.streams.evaluator.checks.errors import MAX_ANSWER_CHARS, AnswerCheckError
from tests.reference.citations import FAULT_SHARES, HARMLESS_EDITS, run

RETURNS = (
    "# Returns\n\nCustomers may return goods within 30 days of delivery. Opened software cannot be returned.\n"
    "We refund the delivery fee of €4.90, but orders above €1,000 are collected by Harbour Freight. The repair\n"
    "takes 24 hours in Leipzig. The two-factor e-mail is sent on 5 March 2026 at 17:00. It weighs 1.250 kg.\n"
    "Items that are not paid, or that are late, are cancelled. The temperature is -5 degrees.\n"
)
DOCUMENTS = DocumentSet(
    {"returns": RETURNS, "fees": "Express delivery costs €14.90 and is free for Gold members.", "empty": ""}
)


def check(quote: str, document_id: str | None = "returns") -> CitationResult:
    return check_claim(SourceClaim(document_id, quote), DOCUMENTS)


@pytest.mark.parametrize(
    "quote",
    [
        "Customers may return goods within 30 days of delivery.",
        "return goods within thirty days of delivery",
        "return goods within 30-days of delivery",
        "return  goods\nwithin 30 days",
        "orders above €1000 are collected",
        "orders above EUR 1 000 are collected",
        "delivery fee of 4,90 euros",
        "repair takes 1 day in Leipzig",
        "Customers … within 30 days of delivery",
        "Opened softwaer cannot be returned",
        "Opened software can not be returned",
        "Opened software canot be returned",
        "The twofactor email is sent",
        "e‑mail is sent on March 5, 2026",
        "is sent on 2026-03-05 at 5 pm",
        "It weighs 1.25 kg",
        "Customers may return the goods within 30 days",
        "Customers may retrun good within 30 days",
        "software",
    ],
)
def test_harmless_edits_are_supported(quote: str) -> None:
    result = check(quote)
    assert (result.status, result.differences) == (CitationStatus.SUPPORTED, ())
    assert result.scope is CitationScope.QUOTE


@pytest.mark.parametrize(
    ("quote", "kind"),
    [
        ("Customers may return goods within 31 days of delivery", DifferenceKind.NUMBER),
        ("the delivery fee of €49.0", DifferenceKind.NUMBER),
        ("It weighs 1.350 kg", DifferenceKind.NUMBER),
        ("The temperature is 5 degrees", DifferenceKind.NUMBER),
        ("Customers may return goods within 30 weeks of delivery", DifferenceKind.UNIT),
        ("the delivery fee of $4.90, but orders", DifferenceKind.UNIT),
        ("e-mail is sent on 6 March 2026", DifferenceKind.DATE),
        ("e-mail is sent on 5 March 2026 at 18:00", DifferenceKind.DATE),
        ("Opened software can be returned", DifferenceKind.NEGATION),
        ("Unopened software cannot be returned", DifferenceKind.NEGATION),
        ("Items that are … paid, or that are late, are cancelled", DifferenceKind.NEGATION),
        ("The repair takes 24 hours in Dresden", DifferenceKind.NAME),
        ("Customers may keep goods within 30 days of delivery", DifferenceKind.WORD),
        ("Customers may return goods within 30 days before delivery", DifferenceKind.WORD),
        ("Items that are not paid, and that are late", DifferenceKind.WORD),
        ("Custmers may retrun goods within 30 days", DifferenceKind.WORD),
    ],
)
def test_kinds_of_differences(quote: str, kind: DifferenceKind) -> None:
    result = check(quote)
    assert result.kind is kind
    assert result.status is CitationStatus.ALTERED


def test_the_span_and_the_reason_show_the_passage() -> None:
    result = check("goods within 31 days of")
    assert result.span is not None
    assert RETURNS[slice(*result.span)] == "goods within 30 days of"
    assert result.reason == "number: the answer says '31', the document '30'"
    (difference,) = result.differences
    assert (difference.quoted, difference.written) == ("31", "30")


def test_a_quote_that_its_document_does_not_contain_is_unsupported() -> None:
    result = check("Every customer receives a free voucher after the first complaint")
    assert (result.status, result.span) == (CitationStatus.UNSUPPORTED, None)
    assert check("The temperature was 7 weeks").status is CitationStatus.UNSUPPORTED, "less than half is equal"
    result = check("Express delivery costs €14.90")
    assert result.status is CitationStatus.UNSUPPORTED
    assert result.reason == "the document 'fees' contains the quote, not 'returns'"
    assert check("software", "refunds").status is CitationStatus.UNKNOWN_SOURCE
    assert check("software", " RETURNS ").status is CitationStatus.SUPPORTED
    assert check("Express delivery costs €14.90", None).document_id == "fees"
    assert check("Express delivery costs €15.90 and is free", None).kind is DifferenceKind.NUMBER
    assert check("Bicycles are lent to members of the club", None).status is CitationStatus.UNSUPPORTED
    assert check("software", "empty").status is CitationStatus.UNSUPPORTED
    result = check("software " * MAX_QUOTE_CHARS)
    assert result.status is CitationStatus.UNSUPPORTED
    assert "at most 10,000 are compared" in result.reason
    assert {check(quote).reason for quote in ("", " … ", "\x00", "()")} == {"the quote contains no word"}


@pytest.mark.parametrize(
    ("statement", "status", "scope"),
    [
        ("You have 30 days", CitationStatus.SUPPORTED, CitationScope.VALUES),
        ("You have 31 days", CitationStatus.ALTERED, CitationScope.VALUES),
        ("You have until 5 March 2026", CitationStatus.SUPPORTED, CitationScope.VALUES),
        ("There are 7 rules", CitationStatus.SUPPORTED, CitationScope.ID),
        ("You can return it", CitationStatus.SUPPORTED, CitationScope.ID),
    ],
)
def test_a_reference_without_quote_is_checked_by_its_values(
    statement: str, status: CitationStatus, scope: CitationScope
) -> None:
    (result,) = check_answer_citations(f"{statement} [returns].", DOCUMENTS).results
    assert (result.status, result.scope) == (status, scope)


def test_the_report_counts() -> None:
    answer = "“Opened software can be returned” [returns]. “Gold members” [fees] [nothing]"
    report = check_answer_citations(answer, DOCUMENTS)
    counts = {status: report.count(status) for status in CitationStatus}
    assert counts == {"altered": 1, "supported": 1, "unknown-source": 1, "unsupported": 0}
    listed = check_claims(claims_of_list([{"source": "fees", "quote": "Gold members"}, "nothing"]), DOCUMENTS)
    assert [result.status for result in listed.results] == ["supported", "unknown-source"]


def test_scripts_without_spaces() -> None:
    documents = DocumentSet(
        {"zh": "商品可以在三十天内退货。食品不能退货。", "ar": "يمكن إرجاع البضائع خلال 30 يوما من التسليم"}
    )
    chinese = [check_claim(SourceClaim("zh", quote), documents) for quote in ("食品不能退货", "食品能退货")]
    assert [result.status for result in chinese] == ["supported", "altered"]
    assert chinese[1].kind is DifferenceKind.NEGATION
    arabic = [
        check_claim(SourceClaim("ar", quote), documents) for quote in ("البضائع خلال 30 يوما", "البضائع خلال 40 يوما")
    ]
    assert [result.kind for result in arabic] == [None, DifferenceKind.NUMBER]


@pytest.mark.parametrize(
    ("documents", "reason"),
    [
        ({"A": "", "a": ""}, "differ in case only"),
        ({" ": ""}, "empty id"),
        ({"a": "x" * (MAX_DOCUMENT_CHARS + 1)}, "split it"),
    ],
)
def test_documents_that_cannot_be_used(documents: dict[str, str], reason: str) -> None:
    with pytest.raises(AnswerCheckError, match=reason):
        DocumentSet(documents)


@pytest.mark.parametrize("reference", ["", " [a-1]"])
@pytest.mark.parametrize("form", ["“{}”", "„{}“", "«{}»", '"{}"'])
def test_a_quote_of_an_answer_that_is_too_long_is_a_claim(form: str, reference: str) -> None:
    answer = f"{form.format('invented ' * 1_300)}{reference} and {form.format('software written by others')} [a-1]"
    report = check_answer_citations(answer, DocumentSet({"a-1": "It is software written by others."}))
    assert [result.status for result in report.results] == [CitationStatus.UNSUPPORTED, CitationStatus.SUPPORTED]
    assert report.results[0].reason == "the quote has 11,700 characters; at most 10,000 are compared"


@pytest.mark.parametrize(
    "piece",
    ["a", "the parcel is late ", "1,000", "\x00\u202e\x1b", "مرحبا ", "退货期限", "\ufdfa", '"', "“", "[(", "e\u0301",
     "\u0301", "1 May ", " ", '"a b c d e f" ', "[a-1] ", "...", "'", "“„«", "„«\"“", "«a"],
)  # fmt: skip
def test_hostile_text_takes_bounded_time(piece: str) -> None:
    text = piece * (210_000 // len(piece))
    started = time.process_time()
    documents = DocumentSet({"a-1": text})
    report = check_answer_citations(text, documents)
    check_claim(SourceClaim("a-1", f"{text[: MAX_QUOTE_CHARS // 2]} zz {text[7 : MAX_QUOTE_CHARS // 2]}"), documents)
    assert time.process_time() - started < 30
    assert report.unread_chars == len(text) - MAX_ANSWER_CHARS


CITED = DocumentSet({"doc-3": "Text.", "Returns": "Text."})


def claims(answer: str) -> list[tuple[str | None, str | None]]:
    return [(claim.document_id, claim.quote) for claim in claims_of_answer(answer, CITED).claims]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('"It is so" [doc-3]', [("doc-3", "It is so")]),
        ("„It is so“ [doc-3]", [("doc-3", "It is so")]),
        ("«It is so» [doc-3]", [("doc-3", "It is so")]),
        ('[doc-3]: "It is so"', [("doc-3", "It is so")]),
        ('"One" [doc-3] and "two" [returns]', [("doc-3", "One"), ("returns", "two")]),
        ('"It is so" [doc-3, doc-4]', [("doc-3", "It is so"), ("doc-4", "It is so")]),
        ('"It is so" (other)', [("other", "It is so")]),
        ("It is so [doc-3].", [("doc-3", None)]),
        ("It is so [other].", [("other", None)]),
        ("It is so (see below), in (2026) [the shop].", []),
        ("[doc-3](page) is a link", []),
        ("The button “Send it” is green.", []),
        ("“The parcel is not late today” is a quote.", [(None, "The parcel is not late today")]),
        ("“[doc-3] is inside”", []),
    ],
)
def test_claims_of_an_answer(answer: str, expected: list[tuple[str | None, str | None]]) -> None:
    assert claims(answer) == expected


def test_claims_have_their_sentence_and_position_and_may_be_listed() -> None:
    (claim,) = claims_of_answer("Wait. It takes 1.5 days [doc-3]. Yes.", CITED).claims
    assert claim.statement == "It takes 1.5 days"
    answer = "So: “It is so” [doc-3]."
    (claim,) = claims_of_answer(answer, CITED).claims
    assert answer[claim.start : claim.end] == "“It is so”"
    listed = claims_of_list(["doc-3", {"document": "doc-3", "quote": "It"}, {"id": 7, "text": None}])
    assert [each.document_id for each in listed.claims] == ["doc-3", "doc-3", "7"]
    assert [each.quote for each in listed.claims] == [None, "It", None]


def test_what_is_not_read_is_counted() -> None:
    many = claims_of_answer("[doc-3] " * (MAX_CLAIMS + 5), CITED)
    assert (len(many.claims), many.omitted) == (MAX_CLAIMS, 5)
    assert claims_of_answer("a" * (MAX_ANSWER_CHARS + 7), CITED).unread_chars == 7
    assert claims_of_list(["doc-3"] * (MAX_CLAIMS + 5)).omitted == 5
    assert claims_of_list([{"id": "doc-3", "quote": "a" * MAX_ANSWER_CHARS}] * 2).omitted == 1


@pytest.mark.parametrize("entry", [3, None, ["doc-3"], {}, {"quote": "a"}, {"id": True}, {"id": "a", "quote": 3}])
def test_a_wrong_entry_of_a_list_names_its_index(entry: object) -> None:
    with pytest.raises(AnswerCheckError, match=r"citations\[1\]"):
        claims_of_list(["doc-3", entry])


@pytest.mark.long
def test_planted_faults_are_flagged_and_harmless_edits_rarely() -> None:
    """A quarter of `python -m tests.reference.citations`."""
    study = run(seed=5, faults=250, harmless=240)
    for kind in FAULT_SHARES:
        flagged = [outcome.is_flagged for outcome in study.faults if outcome.kind == kind]
        assert len(flagged) >= 15, kind
        assert sum(flagged) >= 0.95 * len(flagged), kind
    for kind in HARMLESS_EDITS:
        flagged = [outcome.is_flagged for outcome in study.harmless if outcome.kind == kind]
        assert len(flagged) == 30, kind
        # An ellipsis may cut a date or a quantity in two.
        assert sum(flagged) <= (0.1 if kind == "ellipsis" else 0.05) * len(flagged), kind
    assert sum(outcome.is_flagged for outcome in study.harmless) < 0.05 * len(study.harmless)
