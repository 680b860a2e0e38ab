"""Refusals in several languages."""

from __future__ import annotations

from importlib import resources

import pytest
import yaml

from streams.evaluator.checks.errors import AnswerCheckError
from streams.evaluator.checks.refusals import START_CHARS, check_refusal


@pytest.mark.parametrize(
    ("answer", "language"),
    [
        ("I'm sorry, but I can’t assist with that.", "en"),
        ("I cannot help with this request.", "en"),
        ("Unfortunately, I am unable to answer.", "en"),
        ("**I CAN'T PROVIDE** this.", "en"),
        ("Leider kann ich Ihnen nicht weiterhelfen.", "de"),
        ("Tut mir leid, aber ich kann das nicht beantworten.", "de"),
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
        "Your parcel is unable to be delivered on Sunday.",
        "Leider kann ich heute erst liefern.",
        "It costs €5. " * 40 + "I cannot help with customs.",
    ],
)
def test_answers_that_do_not_refuse(answer: str) -> None:
    assert not check_refusal(answer).is_refusal


def test_only_the_start_is_read() -> None:
    assert check_refusal("a " * (START_CHARS // 2 - 20) + "I cannot help with this").is_refusal
    assert not check_refusal("a " * (START_CHARS // 2) + "I cannot help with this").is_refusal


def test_phrases_may_be_added() -> None:
    assert check_refusal("Bedaurlech, neen.", {"lb": ["bedaurlech neen"]}).language == "lb"
    with pytest.raises(AnswerCheckError, match="'lb'"):
        check_refusal("a", {"lb": ["?!"]})


def test_the_phrases_of_the_file_are_different_and_are_found() -> None:
    text = resources.files("streams.evaluator.checks").joinpath("refusals.yaml").read_text(encoding="utf-8")
    phrases = [phrase for group in yaml.safe_load(text).values() for phrase in group]
    assert len(phrases) == len(set(phrases)) > 70
    assert all(check_refusal(phrase).is_refusal for phrase in phrases)
