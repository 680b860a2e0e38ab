"""Expectations about the demo's result. A failed one means that the pipeline is broken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemoExpectation:
    """One expectation and its outcome."""

    what: str
    is_met: bool
    observed: str
