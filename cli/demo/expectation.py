"""What must come out of the demo, or something in the path is broken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that must hold."""

    what: str
    held: bool
    found: str
