"""Problems of a contract, each with its location and its remedy."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Problem(msgspec.Struct, frozen=True, order=True):
    """One problem of a contract."""

    file: str
    line: int
    """The line, from 1; 0 if the contract was not read from a file."""
    message: str
    """The problem and its remedy."""

    def __str__(self) -> str:
        location = f"{self.file}:{self.line}" if self.line else self.file
        return f"{location}: {self.message}"


class ContractError(ValueError):
    """A contract is not valid; `problems` lists every problem in order of lines.

    The message has one line per problem: `FILE:LINE: problem; remedy`.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def quoted(text: str, limit_chars: int = 60) -> str:
    """Quote text for a message: on one line, shortened in the middle, without control characters.

    Args:
        limit_chars: Length above which the middle is omitted.
    """
    if len(text) > limit_chars:
        half = limit_chars // 2
        text = f"{text[:half]}…{text[-half:]}"
    return repr(text)
