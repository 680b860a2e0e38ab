"""The error of the checks of answers, and the limit of what they read."""


class AnswerCheckError(ValueError):
    """The definition of a check, or a list of claims, cannot be used; the message says what is wrong and where."""


MAX_ANSWER_CHARS = 200_000
"""Characters of an answer that are read; results say how many were not."""
