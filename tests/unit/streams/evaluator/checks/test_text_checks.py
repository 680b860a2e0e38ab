"""Refusals, personal data and the language of an answer."""

from __future__ import annotations

import time
from importlib import resources

import pytest
import yaml
from barograph.text.language import LanguageDetector

from barograph_server.streams.evaluator.checks.errors import MAX_ANSWER_CHARS, AnswerCheckError
from barograph_server.streams.evaluator.checks.language_match import check_language
from barograph_server.streams.evaluator.checks.personal_data import check_personal_data
from barograph_server.streams.evaluator.checks.refusals import START_CHARS, check_refusal


@pytest.mark.parametrize(
    ("answer", "language"),
    [
        ("I'm sorry, but I can’t assist with that.", "en"),
        ("Unfortunately, I am unable to answer.", "en"),
        ("Leider kann ich Ihnen nicht weiterhelfen.", "de"),
        ("Je suis désolé, mais je ne peux pas vous aider.", "fr"),
        ("Lo siento, pero no puedo ayudar con eso.", "es"),
        ("Mi dispiace, ma non posso aiutarti.", "it"),
        ("Desculpe, mas não posso ajudar.", "pt"),
        ("Het spijt me, maar ik kan u niet helpen.", "nl"),
    ],
)
def test_refusals(answer: str, language: str) -> None:
    result = check_refusal(answer)
    assert (result.is_refusal, result.language) == (True, language)
    assert result.phrase


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "You cannot return opened software.",
        "I'm sorry, but I can offer a voucher.",
        "Leider kann ich heute erst liefern.",
        "It costs €5. " * 40 + "I cannot help with customs.",
    ],
)
def test_answers_that_do_not_refuse(answer: str) -> None:
    assert not check_refusal(answer).is_refusal


def test_phrases_of_the_file_and_added_ones_are_found_at_the_start() -> None:
    assert check_refusal("a " * (START_CHARS // 2 - 20) + "I cannot help with this").is_refusal
    assert not check_refusal("a " * (START_CHARS // 2) + "I cannot help with this").is_refusal
    assert check_refusal("Bedaurlech, neen.", {"lb": ["bedaurlech neen"]}).language == "lb"
    with pytest.raises(AnswerCheckError, match="'lb'"):
        check_refusal("a", {"lb": ["?!"]})
    text = (
        resources.files("barograph_server.streams.evaluator.checks")
        .joinpath("refusals.yaml")
        .read_text(encoding="utf-8")
    )
    phrases = [phrase for group in yaml.safe_load(text).values() for phrase in group]
    assert len(phrases) == len(set(phrases)) > 70
    assert all(check_refusal(phrase).is_refusal for phrase in phrases)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("kim@example.org", "email"),
        ("+49 30 1234567", "phone"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("4111 1111 1111 1111", "card"),
        ("192.168.10.7", "ip"),
        ("sk-abcdefghijklmnop1234", "secret"),
    ],
)
def test_kinds_and_positions(value: str, kind: str) -> None:
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
def test_hostile_text_takes_bounded_time(piece: str) -> None:
    text = piece * (2 * MAX_ANSWER_CHARS // len(piece))
    started = time.process_time()
    result = check_personal_data(text, [text])
    assert time.process_time() - started < 20
    assert result.unread_chars == len(text) - MAX_ANSWER_CHARS


ENGLISH = "When will the parcel with my new kettle arrive at my home?"
GERMAN = "Das Paket kommt am nächsten Dienstag zwischen zehn und zwölf Uhr an."


def test_languages() -> None:
    detector = LanguageDetector(["en", "de"])
    result = check_language(ENGLISH, GERMAN, detector)
    assert (result.is_mismatch, result.question, result.answer) == (True, "en", "de")
    english = "The parcel will arrive between ten and twelve next Tuesday."
    for question, answer, is_mismatch in ((ENGLISH, english, False), (ENGLISH, "OK", None), ("", GERMAN, None)):
        assert check_language(question, answer, detector).is_mismatch is is_mismatch
