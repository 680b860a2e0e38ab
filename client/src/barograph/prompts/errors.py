"""Errors of prompts."""

from __future__ import annotations

from collections.abc import Sequence

from barograph.contract.problems import Problem


class PromptError(ValueError):
    """A prompt does not exist, a file is not a prompt, or values do not fit its variables.

    The message says what is wrong and what to do.
    """


class PromptFileError(PromptError):
    """A file is not a prompt; `problems` lists every problem in order of lines.

    The message has one line per problem: `FILE:LINE: problem; remedy`.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
