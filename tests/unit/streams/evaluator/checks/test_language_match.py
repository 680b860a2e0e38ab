"""The language of an answer is that of its question."""

from __future__ import annotations

import pytest
from barograph.text.language import LanguageDetector

from streams.evaluator.checks.language_match import check_language

ENGLISH = "When will the parcel with my new kettle arrive at my home?"
GERMAN = "Das Paket kommt am nächsten Dienstag zwischen zehn und zwölf Uhr an."


@pytest.mark.parametrize(
    ("question", "answer", "is_mismatch"),
    [
        (ENGLISH, GERMAN, True),
        (ENGLISH, "The parcel will arrive between ten and twelve next Tuesday.", False),
        (ENGLISH, "OK", None),
        ("", GERMAN, None),
    ],
)
def test_languages(question: str, answer: str, is_mismatch: bool | None) -> None:
    assert check_language(question, answer, LanguageDetector()).is_mismatch is is_mismatch


def test_the_result_names_both_languages() -> None:
    result = check_language(ENGLISH, GERMAN, LanguageDetector(["en", "de"]))
    assert (result.question, result.answer) == ("en", "de")
