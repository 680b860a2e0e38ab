"""Regular expressions over answers, in time in proportion to the answer.

Python's `re` may take exponential time. The engine RE2, which Arrow contains, does not; it has no backreferences and no
look-around.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from barograph_server.streams.evaluator.checks.errors import AnswerCheckError

MAX_PATTERN_CHARS = 1_000


class AnswerPattern:
    """A regular expression of RE2 that an answer must contain."""

    def __init__(self, pattern: str) -> None:
        """Compile a pattern.

        Args:
            pattern: The expression. It may match anywhere; write `^` and `$` for the whole text.

        Raises:
            AnswerCheckError: RE2 does not accept it, or it has more than `MAX_PATTERN_CHARS` characters.
        """
        if len(pattern) > MAX_PATTERN_CHARS:
            raise AnswerCheckError(f"the pattern has {len(pattern):,} characters; at most {MAX_PATTERN_CHARS:,} fit")
        self.pattern = pattern
        try:
            self.matches("")
        except pa.ArrowInvalid as error:
            reason = str(error).partition("\n")[0].removeprefix("Invalid regular expression: ")
            raise AnswerCheckError(
                f"the pattern {pattern[:80]!r} is invalid: {reason}; write it for RE2, which has no look-around and no "
                "backreferences"
            ) from error

    def matches(self, text: str) -> bool:
        """Return whether a text contains a match."""
        encoded = text.encode("utf-8", "replace").decode()
        return bool(pc.match_substring_regex(pa.array([encoded], pa.large_string()), self.pattern)[0].as_py())
