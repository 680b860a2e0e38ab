"""Detects answers that refuse, by phrases at their start."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import yaml

from barograph_server.streams.evaluator.checks.errors import AnswerCheckError
from barograph_server.streams.evaluator.checks.plain_text import PlainText

START_CHARS = 300
"""Characters of an answer in which a refusal is searched; later phrases are limits of a given answer."""
_CONTRACTIONS = ((re.compile(r"\bcan(?:'t|not)\b"), "can not"), (re.compile(r"\bwon't\b"), "will not"),
                 (re.compile(r"n't\b"), " not"))  # fmt: skip


@dataclass(frozen=True)
class RefusalResult:
    """Whether an answer refuses."""

    is_refusal: bool
    language: str = ""
    """The language of the phrase (ISO 639-1); empty without a refusal."""
    phrase: str = ""
    """The phrase, in lower case and without punctuation."""


def check_refusal(answer: str, phrases: Mapping[str, Sequence[str]] | None = None) -> RefusalResult:
    """Check whether an answer refuses.

    Args:
        phrases: Phrases by language, in addition to those of `refusals.yaml`.

    Raises:
        AnswerCheckError: A phrase contains no word.
    """
    text = f" {_words(answer[:START_CHARS])} "
    for language, phrase in (*_phrases(), *_additional(phrases or {})):
        if f" {phrase} " in text:
            return RefusalResult(True, language, phrase)
    return RefusalResult(False)


@lru_cache(maxsize=1)
def _phrases() -> tuple[tuple[str, str], ...]:
    text = (
        resources.files("barograph_server.streams.evaluator.checks")
        .joinpath("refusals.yaml")
        .read_text(encoding="utf-8")
    )
    return tuple((language, _words(phrase)) for language, phrases in yaml.safe_load(text).items() for phrase in phrases)


def _additional(phrases: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    pairs = [(language, _words(phrase)) for language, group in phrases.items() for phrase in group]
    for language, phrase in pairs:
        if not phrase:
            raise AnswerCheckError(f"a phrase of refusals of the language {language!r} contains no word; remove it")
    return pairs


def _words(text: str) -> str:
    text = PlainText(text).text.casefold()
    for contraction, words in _CONTRACTIONS:
        text = contraction.sub(words, text)
    return " ".join(re.findall(r"\w+", text))
