"""Checks the form of an answer: a pattern, or JSON that satisfies a schema."""

import json
import re
from collections import Counter
from dataclasses import dataclass

from barograph.text.language import UNKNOWN, LanguageDetector

from barograph_server.streams.evaluator.checks.json_schema import MAX_VIOLATIONS, AnswerPattern, AnswerSchema

MAX_FORMATTED_CHARS = 1_000_000
"""Characters of an answer that is checked; a longer one is a violation."""
_FENCE = re.compile(r"\s*```[\w-]*[ \t]*\n(.*)\n[ \t]*```\s*", re.DOTALL)


@dataclass(frozen=True)
class FormatResult:
    """Whether an answer has its form."""

    violations: tuple[str, ...]
    """What is wrong: the place in the answer, such as `$.items[2].price`, and the reason."""

    @property
    def is_valid(self) -> bool:
        """Whether nothing is wrong."""
        return not self.violations


def check_pattern(answer: str, pattern: AnswerPattern) -> FormatResult:
    """Check that an answer contains a match of a pattern."""
    if len(answer) > MAX_FORMATTED_CHARS:
        return _too_long(answer)
    return FormatResult(() if pattern.matches(answer) else (f"the answer does not match {pattern.pattern!r}",))


def check_json(answer: str, schema: AnswerSchema | None = None, *, allow_fence: bool = True) -> FormatResult:
    """Check that an answer is one value of JSON, and that it satisfies a schema.

    Args:
        allow_fence: Whether the JSON may be inside one Markdown code block, with nothing before or after it.
    """
    if len(answer) > MAX_FORMATTED_CHARS:
        return _too_long(answer)
    fence = _FENCE.fullmatch(answer) if allow_fence else None
    repeated: list[str] = []

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        result = dict(pairs)
        if len(result) < len(pairs) and len(repeated) < MAX_VIOLATIONS:
            counts = Counter(name for name, _ in pairs)
            repeated.append(next(name for name, count in counts.items() if count > 1))
        return result

    try:
        value = json.loads(
            answer if fence is None else fence[1], parse_constant=_reject_constant, object_pairs_hook=members
        )
    except json.JSONDecodeError as error:
        reason = f"the answer is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        return FormatResult((reason,))
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
        return FormatResult((f"the answer is not usable JSON: {reason[:200]}",))
    violations = [f"the answer repeats the member {name[:80]!r} of an object" for name in repeated]
    return FormatResult(tuple(violations + (schema.violations(value) if schema else [])))


def _reject_constant(name: str) -> float:
    raise ValueError(f"it contains {name}, which is no JSON")


def _too_long(answer: str) -> FormatResult:
    return FormatResult((f"the answer has {len(answer):,} characters, more than {MAX_FORMATTED_CHARS:,}",))


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
