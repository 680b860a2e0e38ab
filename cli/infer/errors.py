"""What stops `barograph infer`: each error is a sentence that says what, where and what to do."""

from __future__ import annotations


class InferError(ValueError):
    """Nothing can be inferred, or it cannot be written."""


class TableError(InferError):
    """A table cannot be read, or holds nothing to watch."""


class OptionError(InferError):
    """An option does not fit the table or the other options."""


class ExistsError(InferError):
    """A file of another content stands where one would be written."""
