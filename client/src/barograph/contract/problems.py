"""What is wrong with a contract: all of it at once, each with its place and its remedy."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong with a contract."""

    file: str
    line: int
    """Counted from 1; 0 where the contract was not read from a file."""
    message: str
    """What is wrong, and what to write."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


class ContractError(ValueError):
    """A contract cannot be used; `problems` holds everything that was found, in order of lines.

    Its text is one line per problem: `FILE:LINE: what is wrong; what to write`.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def quoted(text: str, limit_chars: int = 60) -> str:
    """Quote text for a message: one line, shortened in the middle, safe for a terminal."""
    if len(text) > limit_chars:
        half = limit_chars // 2
        text = f"{text[:half]}…{text[-half:]}"
    return repr(text)
