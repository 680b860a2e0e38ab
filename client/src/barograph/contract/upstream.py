"""Where a model's features come from, as its contract declares it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class DeclaredSource(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream system or job that computes features of a model."""

    owner: str = ""
    """The people to ask if its features move; empty: nobody is known."""
    system: str = ""
    """The system that runs it, such as a database or a scheduler; empty: not stated."""
    code: str = ""
    """Where its code is: a repository and path, or a URL; empty: not stated."""
    window: str = ""
    """The range of time that its features aggregate, such as `30d`; empty: not stated."""
    fields: tuple[str, ...] = ()
    """The fields that it computes."""


def source_faults(source: DeclaredSource, fields: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Check a source, and yield the member and the fault of each problem.

    Args:
        source: what the contract says.
        fields: names of the contract's fields.
    """
    if not source.fields:
        yield "fields", "is empty; name the fields that the source computes"
    for name in source.fields:
        if name not in fields:
            yield "fields", f"{name!r} is no field of the contract; remove it, or correct its name"
