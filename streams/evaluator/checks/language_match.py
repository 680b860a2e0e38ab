"""Checks that an answer has the language of its question."""

from dataclasses import dataclass

from barograph.text.language import UNKNOWN, LanguageDetector


@dataclass(frozen=True)
class LanguageResult:
    """The languages of a question and its answer."""

    question: str
    """A code of ISO 639-1, `other` or `unknown`."""
    answer: str
    """The same of the answer."""

    @property
    def is_mismatch(self) -> bool | None:
        """Whether they differ; None if one is unknown, because it is too short or ambiguous."""
        if UNKNOWN in (self.question, self.answer):
            return None
        return self.question != self.answer


def check_language(question: str, answer: str, detector: LanguageDetector) -> LanguageResult:
    """Detect both languages. The first 1,000 characters of each text decide."""
    return LanguageResult(detector.detect(question), detector.detect(answer))
