import time
from importlib import resources
from typing import Any

import pytest
import yaml
from barograph.text.language import LanguageDetector

from barograph_server.streams.evaluator.checks import citations, claims, format_checks, json_schema
from barograph_server.streams.evaluator.checks.citations import CitationScope, CitationStatus, check_claim
from barograph_server.streams.evaluator.checks.claims import SourceClaim, claims_of_answer, claims_of_list
from barograph_server.streams.evaluator.checks.differences import DifferenceKind
from barograph_server.streams.evaluator.checks.documents import MAX_DOCUMENT_CHARS, DocumentSet
from barograph_server.streams.evaluator.checks.errors import MAX_ANSWER_CHARS, AnswerCheckError
from barograph_server.streams.evaluator.checks.grounding import MAX_CONTEXT_CHARS, GroundingContext, measure_grounding
from barograph_server.streams.evaluator.checks.passages import MAX_PASSAGE_CHARS, PassageIndex, divide
from barograph_server.streams.evaluator.checks.personal_data import check_personal_data
from barograph_server.streams.evaluator.checks.refusals import START_CHARS, check_refusal
from barograph_server.streams.evaluator.checks.tokens import TokenClass, tokenize
from tests.reference.citations import FAULT_SHARES, HARMLESS_EDITS, run


def violations(answer: str, schema: dict[str, Any]) -> tuple[str, ...]:
    return format_checks.check_json(answer, json_schema.AnswerSchema(schema)).violations


def test_a_pattern_matches_anywhere_or_the_whole_answer_of_limited_length() -> None:
    assert format_checks.check_pattern("Answer: 42.", json_schema.AnswerPattern(r"\d+")).is_valid
    result = format_checks.check_pattern("Answer: 42.", json_schema.AnswerPattern(r"^\d+$"))
    assert result.violations == (r"the answer does not match '^\\d+$'",)
    long = "1" * (format_checks.MAX_FORMATTED_CHARS + 1)
    for result in (format_checks.check_pattern(long, json_schema.AnswerPattern("1")), format_checks.check_json(long)):
        assert result.violations == ("the answer has 1,000,001 characters, more than 1,000,000",)


def test_a_pattern_that_cannot_be_used() -> None:
    for pattern, reason in (
        (r"(a)\1", "RE2"),
        ("(?=a)", "RE2"),
        ("a{5000}", "repetition"),
        ("a" * (json_schema.MAX_PATTERN_CHARS + 1), "at most 1,000"),
    ):
        with pytest.raises(AnswerCheckError, match=reason):
            json_schema.AnswerPattern(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "a*a*a*a*a*b", r"(\w+\s?)+$"])
def test_a_pattern_takes_bounded_time(pattern: str) -> None:
    started = time.process_time()
    answer = "a" * (format_checks.MAX_FORMATTED_CHARS - 1) + "!"
    assert not format_checks.check_pattern(answer, json_schema.AnswerPattern(pattern)).is_valid
    assert time.process_time() - started < 20


def test_json() -> None:
    for answer in ('{"a": [1, null]}', "3", '"x"', '```json\n{"a": 1}\n```', '\n```\n{"a": 1}\n```\n'):
        assert format_checks.check_json(answer).is_valid, answer
    assert not format_checks.check_json("```json\n1\n```", allow_fence=False).is_valid


def test_what_is_not_json() -> None:
    for answer, reason in (
        ("", "not JSON: Expecting value in line 1, column 1"),
        ('Here:\n```json\n{"a": 1}\n```', "Expecting value"),
        ("[" * 200_000, "nested too deeply"),
        ("9" * 10_000, "not usable"),
        ('{"a": 1, "a": 2}', "repeats the member 'a'"),
    ):
        (violation,) = format_checks.check_json(answer).violations
        assert reason in violation


def test_keywords_of_a_schema() -> None:
    table: tuple[tuple[Any, str, str, str], ...] = (
        ({"type": "integer"}, "1.0", "true", "$: is boolean, not integer"),
        ({"type": ["string", "null"]}, "null", "1", "$: is number, not string or null"),
        ({"enum": ["a", 1]}, "1", "true", '$: is not one of ["a", 1]'),
        ({"const": 2}, "2.0", "3", "$: is not 2"),
        ({"minimum": 1}, "1", "0", "$: is less than 1"),
        ({"maximum": 1}, "1", "2", "$: is greater than 1"),
        ({"exclusiveMinimum": 1}, "2", "1", "$: is not greater than 1"),
        ({"exclusiveMaximum": 1}, "0", "1", "$: is not less than 1"),
        ({"minLength": 2}, '"ab"', '"a"', "$: has fewer characters than 2"),
        ({"maxLength": 1}, '"a"', '"ab"', "$: has more characters than 1"),
        ({"minItems": 1}, "[1]", "[]", "$: has fewer items than 1"),
        ({"maxItems": 1}, "[1]", "[1, 2]", "$: has more items than 1"),
        ({"uniqueItems": True}, '[{"a": [0]}, {"a": [false]}]', '[{"a": [0]}, {"a": [-0.0]}]', "$: has equal items"),
        ({"const": {"a": [2]}}, '{"a": [2.0]}', '{"a": [3]}', '$: is not {"a": [2]}'),
        ({"pattern": "^a"}, '"ab"', '"b"', "$: does not match '^a'"),
        ({"items": {"type": "string"}}, '["a"]', '["a", 1]', "$[1]: is number, not string"),
        ({"required": ["a"]}, '{"a": 1}', "{}", "$: has no member 'a'"),
        ({"properties": {"a": {"type": "null"}}}, '{"b": 1}', '{"a": 1}', "$.a: is number, not null"),
        ({"properties": {"a": True}, "additionalProperties": False}, '{"a": 1}', '{"b": 1}', "$: has the member 'b'"),
        ({"additionalProperties": {"type": "string"}}, '{"a": "b"}', '{"a": 1}', "$.a: is number, not string"),
        ({"anyOf": [{"type": "string"}, {"minimum": 2}]}, "2", "1", "$: satisfies none of the 2 schemas"),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, "2", "3", "$: is greater than 2"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, "null", "1", "$: is number, not null"),
        (False, "", "1", "$: is not allowed"),
    )  # fmt: skip
    for schema, valid, invalid, reason in table:
        member = {"properties": {"x": schema}} if schema is False else schema
        if valid:
            assert violations(valid, member) == ()
        (violation,) = violations('{"x": 1}' if schema is False else invalid, member)
        assert violation.startswith(reason.replace("$:", "$.x:") if schema is False else reason)


def test_a_schema_that_cannot_be_used() -> None:
    for schema, reason in (
        ({"format": "email"}, "#: the keyword 'format' is not supported"),
        ({"type": "text"}, "#/type: unknown type 'text'"),
        ({"type": ["null", {}]}, "#/type: unknown type {}"),
        ({"required": "a"}, "#/required: write a list"),
        ({"properties": {"a": {"oneOf": []}}}, "#/properties/a: the keyword 'oneOf' is not supported"),
        ({"$defs": []}, r"#/\$defs: write an object, not list"),
        ({"pattern": 1}, "#/pattern: write a text"),
        ({"uniqueItems": 1}, "#/uniqueItems: write true or false"),
        ({"pattern": "("}, "the pattern '\\('"),
        ({"$ref": "#/$defs/b"}, "#/\\$ref: '#/\\$defs/b' is not in the schema"),
        ({"minimum": "1"}, "#/minimum: write a number"),
    ):
        with pytest.raises(AnswerCheckError, match=reason):
            json_schema.AnswerSchema(schema)


def test_a_recursive_schema_a_deep_value_and_the_violations_are_limited() -> None:
    schema = {"$ref": "#/$defs/tree", "$defs": {"tree": {"items": {"$ref": "#/$defs/tree"}}}}
    assert violations("[[], [[]]]", schema) == ()
    assert "too many steps or levels" in violations("[" * 200 + "]" * 200, schema)[0]
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert "too many steps or levels" in violations("1", loop)[0]
    wide = {"anyOf": [{"$ref": "#/$defs/a"}] * 10, "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}] * 10},
            "b": {"anyOf": [{"$ref": "#/$defs/c"}] * 100}, "c": {"anyOf": [{"const": 2}] * 100}}}  # fmt: skip
    assert "too many steps" in violations("1", wide)[0]
    assert len(violations(str([1] * 100), {"items": {"type": "string"}})) == json_schema.MAX_VIOLATIONS


def test_refusals() -> None:
    for answer, language in (
        ("I'm sorry, but I can’t assist with that.", "en"),
        ("Leider kann ich Ihnen nicht weiterhelfen.", "de"),
        ("Je suis désolé, mais je ne peux pas vous aider.", "fr"),
        ("Lo siento, pero no puedo ayudar con eso.", "es"),
        ("Mi dispiace, ma non posso aiutarti.", "it"),
        ("Desculpe, mas não posso ajudar.", "pt"),
        ("Het spijt me, maar ik kan u niet helpen.", "nl"),
    ):
        result = check_refusal(answer)
        assert (result.is_refusal, result.language) == (True, language)
        assert result.phrase


def test_answers_that_do_not_refuse() -> None:
    for answer in (
        "",
        "You cannot return opened software.",
        "I'm sorry, but I can offer a voucher.",
        "Leider kann ich heute erst liefern.",
        "It costs €5. " * 40 + "I cannot help with customs.",
    ):
        assert not check_refusal(answer).is_refusal


def test_phrases_of_the_file_and_added_ones_are_found_at_the_start() -> None:
    assert check_refusal("a " * (START_CHARS // 2 - 20) + "I cannot help with this").is_refusal
    assert not check_refusal("a " * (START_CHARS // 2) + "I cannot help with this").is_refusal
    assert check_refusal("Bedaurlech, neen.", {"lb": ["bedaurlech neen"]}).language == "lb"
    with pytest.raises(AnswerCheckError, match="'lb'"):
        check_refusal("a", {"lb": ["?!"]})
    file = resources.files("barograph_server.streams.evaluator.checks") / "refusals.yaml"
    phrases = [phrase for group in yaml.safe_load(file.read_text(encoding="utf-8")).values() for phrase in group]
    assert len(phrases) == len(set(phrases)) > 70
    assert all(check_refusal(phrase).is_refusal for phrase in phrases)


def test_kinds_and_positions() -> None:
    for value, kind in (
        ("kim@example.org", "email"),
        ("+49 30 1234567", "phone"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("4111 1111 1111 1111", "card"),
        ("192.168.10.7", "ip"),
        ("sk-abcdefghijklmnop1234", "secret"),
    ):
        answer = f"Write to {value} today."
        result = check_personal_data(answer, ["Another text."])
        assert result.leaked == {kind: 1}
        assert [answer[slice(*span)] for span in result.spans] == [value]
        assert value not in repr(result)


def test_what_the_context_contains_is_repeated() -> None:
    answer = "Call +49 30 1234567 or write to kim@example.org; lee@example.org is wrong."
    result = check_personal_data(answer, ["Our number: +49 (30) 123-4567.", "I am KIM@example.org"])
    assert (result.leaked, result.repeated) == ({"email": 1}, 2)
    assert [answer[slice(*span)] for span in result.spans] == ["lee@example.org"]


def test_several_values_and_placeholders() -> None:
    mails = "kim@example.org,lee@example.org <email> kim@example.org"
    answer = f"{mails} https://a.example/b?c=1 https://a.example/b#c kim@b.org"
    result = check_personal_data(answer)
    assert result.leaked == {"email": 4, "query": 2}
    spans = [answer[slice(*span)] for span in result.spans]
    assert spans[:3] == ["kim@example.org", "lee@example.org", "kim@example.org"]
    assert spans[-1] == "kim@b.org"
    for harmless in ("", "It costs €5 within 30 days.", "<email>"):
        assert check_personal_data(harmless).leaked == {}


@pytest.mark.parametrize("piece", ["a", "@", "a@b.c ", "1 ", "<email>", "://", "é\u202e", "期"])
def test_personal_data_of_hostile_text_takes_bounded_time(piece: str) -> None:
    text = piece * (2 * MAX_ANSWER_CHARS // len(piece))
    started = time.process_time()
    result = check_personal_data(text, [text])
    assert time.process_time() - started < 20
    assert result.unread_chars == len(text) - MAX_ANSWER_CHARS


ENGLISH = "When will the parcel with my new kettle arrive at my home?"
GERMAN = "Das Paket kommt am nächsten Dienstag zwischen zehn und zwölf Uhr an."


def test_languages() -> None:
    detector = LanguageDetector(["en", "de"])
    result = format_checks.check_language(ENGLISH, GERMAN, detector)
    assert (result.is_mismatch, result.question, result.answer) == (True, "en", "de")
    english = "The parcel will arrive between ten and twelve next Tuesday."
    for question, answer, is_mismatch in ((ENGLISH, english, False), (ENGLISH, "OK", None), ("", GERMAN, None)):
        assert format_checks.check_language(question, answer, detector).is_mismatch is is_mismatch


def keys(text: str) -> list[str]:
    return [token.key for token in tokenize(text)]


SPELLINGS = {
    "1000": ("1000", "1,000", "1.000", "1 000", "1\u202f000", "1'000", "1’000", "１０００", "1,000.00"),
    "t17:00": ("17:00", "5 pm", "5 p.m.", "5:00 PM"),
    "5 eur": ("€5", "5 €", "5 EUR", "EUR 5", "5 euros", "€ 5.00"),
    "20 percent": ("20%", "20 percent", "20 per cent"),
    "30 day": ("30 days", "30 day", "30-day", "thirty days"),
    "2 kilogram": ("2 kg", "2kg", "2 kilograms"),
    "can not": ("cannot", "can't"),
}


def test_spellings() -> None:
    for expected, texts in SPELLINGS.items():
        assert {text: keys(text) for text in texts} == dict.fromkeys(texts, expected.split())


def test_numbers_units_and_words() -> None:
    for text, expected in (
        ("4,90", "4.9"),
        ("1.2.3", "1.2.3"),
        ("−5", "-5"),
        ("10-20", "10 20"),
        ("twenty-four", "24"),
        ("٣٠", "30"),
        ("m g 5 m", "m g 5 metre"),
        ("up to 5 may be returned", "up to 5 may be returned"),
        ("cafe\u0301", "café"),
        ("期限三十", "期 限 三 十"),
        ("\u202eabc\u202c\x00def", "abc def"),
        ("", ""),
    ):
        assert keys(text) == expected.split()


def test_a_point_before_three_digits_has_two_readings() -> None:
    (token,) = tokenize("1.250")
    assert {token.key, *token.readings} == {"1250", "1.25"}
    assert all(token.same_value(tokenize(text)[0]) for text in ("1.25", "1,250"))
    assert not tokenize("1,250")[0].same_value(tokenize("1.25")[0])


DAYS = ("5 March 2026", "5th of March 2026", "March 5, 2026", "March 5th, 2026", "5 Mar 2026", "5. March 2026")
MORE_DAYS = ("2026-03-05", "05.03.2026", "5 MARCH 2026", "5 march 2026", "5  March\n2026", "05/03/2026")


def test_spellings_of_a_day() -> None:
    for text in DAYS + MORE_DAYS:
        assert [(token.key, token.kind) for token in tokenize(text)] == [("2026-03-05", TokenClass.DATE)], text
    for month in ("January", "June", "July", "September", "Sept", "May"):
        assert tokenize(f"3 {month} 2026")[0].kind is TokenClass.DATE, month
    for text in ("40 March 2026", "2026-13-01", "32.01.2026"):
        assert TokenClass.DATE not in {token.kind for token in tokenize(text)}, text


def test_a_day_with_slashes_has_two_readings_and_may_leave_out_its_year() -> None:
    (token,) = tokenize("05/03/2026")
    assert all(token.same_value(tokenize(text)[0]) for text in ("5 March 2026", "3 May 2026"))
    assert keys("25/03/2026") == keys("3/25/2026") == ["2026-03-25"]
    march, next_year, other = (tokenize(text)[0] for text in ("5 March", "5 March 2027", "6 March 2027"))
    assert march.same_value(next_year)
    assert next_year.same_value(march)
    assert not march.same_value(other)
    assert not next_year.same_value(tokenize("5 March 2026")[0])


CONTEXT = "Customers may return goods within 30 days of delivery. Opened software cannot be returned."


def test_values() -> None:
    for answer, value in (
        (CONTEXT, 1.0),
        ("CUSTOMERS may return goods within thirty days.", 1.0),
        ("Bicycles are lent to members.", 0.0),
        # five n-grams, three of them in the context
        ("Customers may return goods within 31 days.", 3 / 5),
        ("Software.", 1.0),
        ("", None),
    ):
        assert measure_grounding(answer, GroundingContext([CONTEXT])).value == value


def test_the_least_supported_sentence() -> None:
    answer = "Customers may return goods. It takes 1.5 hours at the counter! Opened software cannot be returned."
    result: Any = measure_grounding(answer, GroundingContext(["Nothing.", CONTEXT]))
    assert answer[slice(*result.least_span)] == "It takes 1.5 hours at the counter"
    assert result.least_value == 0.0
    # 2, 5 and 4 n-grams; those of the second sentence are not in the context
    assert result.value == pytest.approx((2 + 4) / (2 + 5 + 4))
    with pytest.raises(AnswerCheckError, match="at most 2,000,000"):
        GroundingContext(["a" * MAX_CONTEXT_CHARS, "b"])


@pytest.mark.parametrize("piece", ["a", "word ", ".", ". ", ".)", "\n", "مرحبا ", "退货", "\x00", "\u202eé"])
def test_grounding_of_hostile_text_takes_bounded_time(piece: str) -> None:
    text = piece * ((MAX_ANSWER_CHARS + 1_000) // len(piece))
    started = time.process_time()
    result = measure_grounding(text, GroundingContext([text]))
    assert time.process_time() - started < 20
    assert result.unread_chars == len(text) - MAX_ANSWER_CHARS


WORDS = "Customers may return goods within 30 days"


def test_passages_end_after_a_paragraph_sentence_or_word_and_are_the_whole_text() -> None:
    for text, end_of_first in (
        (f"{'a' * 600}\n\n{'b. ' * 300}", "a\n\n"),
        (f"{'a ' * 300}\n\n\n  {'b' * 5_000}", " \n\n\n"),
        (f"{'a ' * 400}ends. {'b ' * 400}", "ends. "),
        (f"{'a' * 700} {'b' * 700}", "a "),
        ("a" * 2_500, "aaa"),
    ):
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
    documents = {"b": "Goods may days within 30 return customers.", "a": WORDS, "c": "May I?", "d": "Bicycles."}
    index = PassageIndex(documents)
    assert [each.document_id for each in index.passages] == ["a", "b", "c", "d"]
    weights = index.overlaps(WORDS)
    assert weights[0] > weights[1] > weights[2]
    assert 3 not in weights
    bicycle, may = index.overlaps("bicycles"), index.overlaps("may")
    assert bicycle[3] > may[0] == may[1] == may[2]
    assert index.overlaps("", "Nothing shared") == {}


RETURNS = (
    "# Returns\n\nCustomers may return goods within 30 days of delivery. Opened software cannot be returned.\n"
    "We refund the delivery fee of €4.90, but orders above €1,000 are collected by Harbour Freight. The repair\n"
    "takes 24 hours in Leipzig. The two-factor e-mail is sent on 5 March 2026 at 17:00. It weighs 1.250 kg.\n"
    "Items that are not paid, or that are late, are cancelled. The temperature is -5 degrees.\n"
)
DOCUMENTS = DocumentSet(
    {"returns": RETURNS, "fees": "Express delivery costs €14.90 and is free for Gold members.", "empty": ""}
)


def check(quote: str, document_id: str | None = "returns") -> citations.CitationResult:
    return check_claim(SourceClaim(document_id, quote), DOCUMENTS)


def test_harmless_edits_are_supported() -> None:
    for quote in (
        "Customers may return goods within 30 days of delivery.",
        "return goods within thirty days of delivery",
        "return  goods\nwithin 30 days",
        "orders above €1000 are collected",
        "delivery fee of 4,90 euros",
        "repair takes 1 day in Leipzig",
        "Customers … within 30 days of delivery",
        "Opened softwaer cannot be returned",
        "Opened software can not be returned",
        "The twofactor email is sent",
        "e‑mail is sent on March 5, 2026",
        "is sent on 2026-03-05 at 5 pm",
        "It weighs 1.25 kg",
        "Customers may return the goods within 30 days",
        "software",
    ):
        result = check(quote)
        assert (result.status, result.differences) == (CitationStatus.SUPPORTED, ())
        assert result.scope is CitationScope.QUOTE


def test_kinds_of_differences() -> None:
    for quote, kind in (
        ("Customers may return goods within 31 days of delivery", DifferenceKind.NUMBER),
        ("the delivery fee of €49.0", DifferenceKind.NUMBER),
        ("The temperature is 5 degrees", DifferenceKind.NUMBER),
        ("Customers may return goods within 30 weeks of delivery", DifferenceKind.UNIT),
        ("e-mail is sent on 6 March 2026", DifferenceKind.DATE),
        ("e-mail is sent on 5 March 2026 at 18:00", DifferenceKind.DATE),
        ("Opened software can be returned", DifferenceKind.NEGATION),
        ("Unopened software cannot be returned", DifferenceKind.NEGATION),
        ("Items that are … paid, or that are late, are cancelled", DifferenceKind.NEGATION),
        ("The repair takes 24 hours in Dresden", DifferenceKind.NAME),
        ("Customers may keep goods within 30 days of delivery", DifferenceKind.WORD),
        ("Customers may return goods within 30 days before delivery", DifferenceKind.WORD),
    ):
        result = check(quote)
        assert result.kind is kind
        assert result.status is CitationStatus.ALTERED


def test_the_span_and_the_reason_show_the_passage() -> None:
    result: Any = check("goods within 31 days of")
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
    result = check("software " * claims.MAX_QUOTE_CHARS)
    assert result.status is CitationStatus.UNSUPPORTED
    assert "at most 10,000 are compared" in result.reason
    assert {check(quote).reason for quote in ("", " … ", "\x00", "()")} == {"the quote contains no word"}


def test_a_reference_without_quote_is_checked_by_its_values() -> None:
    for statement, status, scope in (
        ("You have 30 days", CitationStatus.SUPPORTED, CitationScope.VALUES),
        ("You have 31 days", CitationStatus.ALTERED, CitationScope.VALUES),
        ("You have until 5 March 2026", CitationStatus.SUPPORTED, CitationScope.VALUES),
        ("You can return it", CitationStatus.SUPPORTED, CitationScope.ID),
    ):
        (result,) = citations.check_answer_citations(f"{statement} [returns].", DOCUMENTS).results
        assert (result.status, result.scope) == (status, scope)


def test_the_report_counts() -> None:
    answer = "“Opened software can be returned” [returns]. “Gold members” [fees] [nothing]"
    report = citations.check_answer_citations(answer, DOCUMENTS)
    counts = {status: report.count(status) for status in CitationStatus}
    assert counts == {"altered": 1, "supported": 1, "unknown-source": 1, "unsupported": 0}
    listed = citations.check_claims(claims_of_list([{"source": "fees", "quote": "Gold members"}, "nothing"]), DOCUMENTS)
    assert [result.status for result in listed.results] == ["supported", "unknown-source"]


def test_scripts_without_spaces() -> None:
    texts = {"zh": "商品可以在三十天内退货。食品不能退货。", "ar": "يمكن إرجاع البضائع خلال 30 يوما من التسليم"}
    documents = DocumentSet(texts)
    chinese = [check_claim(SourceClaim("zh", quote), documents) for quote in ("食品不能退货", "食品能退货")]
    assert [result.status for result in chinese] == ["supported", "altered"]
    assert chinese[1].kind is DifferenceKind.NEGATION
    quotes = ("البضائع خلال 30 يوما", "البضائع خلال 40 يوما")
    arabic = [check_claim(SourceClaim("ar", quote), documents) for quote in quotes]
    assert [result.kind for result in arabic] == [None, DifferenceKind.NUMBER]


def test_documents_that_cannot_be_used() -> None:
    for documents, reason in (
        ({"A": "", "a": ""}, "differ in case only"),
        ({" ": ""}, "empty id"),
        ({"a": "x" * (MAX_DOCUMENT_CHARS + 1)}, "split it"),
    ):
        with pytest.raises(AnswerCheckError, match=reason):
            DocumentSet(documents)


@pytest.mark.parametrize("reference", ["", " [a-1]"])
@pytest.mark.parametrize("form", ["“{}”", "„{}“", "«{}»", '"{}"'])
def test_a_quote_of_an_answer_that_is_too_long_is_a_claim(form: str, reference: str) -> None:
    answer = f"{form.format('invented ' * 1_300)}{reference} and {form.format('software written by others')} [a-1]"
    report = citations.check_answer_citations(answer, DocumentSet({"a-1": "It is software written by others."}))
    assert [result.status for result in report.results] == [CitationStatus.UNSUPPORTED, CitationStatus.SUPPORTED]
    assert report.results[0].reason == "the quote has 11,700 characters; at most 10,000 are compared"


@pytest.mark.parametrize(
    "piece",
    ["a", "the parcel is late ", "1,000", "\x00\u202e\x1b", "مرحبا ", "退货期限", "\ufdfa", '"', "“", "[(", "e\u0301",
     "\u0301", "1 May ", " ", '"a b c d e f" ', "[a-1] ", "...", "'", "“„«", "„«\"“", "«a"],
)  # fmt: skip
def test_citations_of_hostile_text_take_bounded_time(piece: str) -> None:
    text = piece * (210_000 // len(piece))
    started = time.process_time()
    documents = DocumentSet({"a-1": text})
    report = citations.check_answer_citations(text, documents)
    check_claim(
        SourceClaim("a-1", f"{text[: claims.MAX_QUOTE_CHARS // 2]} zz {text[7 : claims.MAX_QUOTE_CHARS // 2]}"),
        documents,
    )
    assert time.process_time() - started < 30
    assert report.unread_chars == len(text) - MAX_ANSWER_CHARS


CITED = DocumentSet({"doc-3": "Text.", "Returns": "Text."})


def test_claims_of_an_answer() -> None:
    for answer, expected in (
        ('"It is so" [doc-3]', [("doc-3", "It is so")]),
        ("„It is so“ [doc-3]", [("doc-3", "It is so")]),
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
    ):
        assert [(each.document_id, each.quote) for each in claims_of_answer(answer, CITED).claims] == expected, answer


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
    many = claims_of_answer("[doc-3] " * (claims.MAX_CLAIMS + 5), CITED)
    assert (len(many.claims), many.omitted) == (claims.MAX_CLAIMS, 5)
    assert claims_of_answer("a" * (MAX_ANSWER_CHARS + 7), CITED).unread_chars == 7
    assert claims_of_list(["doc-3"] * (claims.MAX_CLAIMS + 5)).omitted == 5
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
