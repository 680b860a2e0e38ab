"""The language of a text, by the package py3langid (extra `text`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from barograph.text.errors import TextError, missing_package

UNKNOWN, OTHER = "unknown", "other"
"""Of a text that is too short or too ambiguous, and of a language that the contract does not name."""
MIN_CHARS = 12
"""A text with fewer alphabetic characters is `unknown`: the detector guesses there. Those of Chinese, Japanese and
Korean count four times."""
MAX_CHARS = 1_000
"""Characters that are read of a text."""
MIN_CONFIDENCE = 0.5
"""Smallest probability of the best language among those with a code of ISO 639-1; below it the text is `unknown`."""
MIN_OTHER_CONFIDENCE = 0.3
"""Smallest probability of a language that the contract does not name for `other`; below it the text is `unknown`."""
MAX_OUTSIDE = 0.9
"""Probability of all languages that the contract does not name from which a text is none of those that it names."""
_NO_LANGUAGE = "zxx"
_CODE_CHARS = 2
"""Length of a code of ISO 639-1."""
_LOGOGRAMS_FROM = "\u2e80"
"""First code point of the scripts of Chinese, Japanese and Korean, whose characters tell more each."""


class LanguageDetector:
    """Detects languages by their ISO 639-1 code: `en`, `de`."""

    def __init__(self, languages: Sequence[str] = ()) -> None:
        """Load the detector.

        Args:
            languages: The languages to expect, which decide doubtful texts; a text that is clearly in another one is
                `other`. Empty for every language that the detector knows.

        Raises:
            TextError: The package is not installed, or does not know one of the languages.
        """
        self._model = _load_model()
        unknown = sorted(set(languages) - set(self._model.labels))
        if unknown:
            raise TextError(f"the languages {', '.join(unknown)} are unknown; write codes of ISO 639-1 such as en, de")
        self._languages = frozenset(languages)
        self._known = frozenset(label for label in self._model.labels if len(label) == _CODE_CHARS)

    def detect(self, text: str) -> str:
        """Return the language of a text: a code, `other` or `unknown`."""
        text = text[:MAX_CHARS]
        alphabetic = [char for char in text if char.isalpha()]
        if len(alphabetic) + 3 * sum(char >= _LOGOGRAMS_FROM for char in alphabetic) < MIN_CHARS:
            return UNKNOWN
        ranked = self._model.rank(text.encode("utf-8", "replace").decode())
        if ranked[0][0] == _NO_LANGUAGE:
            return UNKNOWN
        inside = [(language, p) for language, p in ranked if language in (self._languages or self._known)]
        mass = sum(p for _, p in inside)
        if self._languages and 1 - mass >= MAX_OUTSIDE:
            return OTHER if ranked[0][1] >= MIN_OTHER_CONFIDENCE else UNKNOWN
        # A short text of a common language resembles its creoles and dialects, which have longer codes.
        language, p = inside[0]
        return str(language) if p >= MIN_CONFIDENCE * mass else UNKNOWN


@lru_cache(maxsize=1)
def _load_model() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise missing_package("py3langid") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
