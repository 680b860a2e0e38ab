"""Errors of `barograph infer`; each text says what is wrong, where, and what to do."""

from barograph_server.errors import CommandError


class InferError(CommandError, ValueError):
    """Contract and baseline cannot be inferred or written."""


class TableError(InferError):
    """A table cannot be read, or has no column to monitor."""


class OptionError(InferError):
    """An option does not fit the table or the other options."""


class ExistsError(InferError):
    """A target file exists with different content."""
