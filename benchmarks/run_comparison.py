"""Comparison of two runs: every ratio that both measured, and the difference.

Rates depend on the machine and its load. Ratios compare alternating measurements of one run and should be reproducible.
"""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.figures import Figure, Figures, number

CLOSE = 0.15
"""The ratios of two runs should differ by at most this share of the smaller one."""
RATIO = "×"


class Pair(NamedTuple):
    """A ratio in two runs."""

    figure: Figure
    """The ratio of the published run."""
    other: float
    """The value of the other run."""

    @property
    def apart(self) -> float:
        """The difference as a share of the smaller value."""
        small, great = sorted((self.figure.value, self.other))
        return great / small - 1 if small > 0 else 0.0 if great == small else float("inf")


def pairs(figures: Figures, other: Figures) -> list[Pair]:
    """Every ratio that both runs have, in the order of the published run."""
    result = ((one, other.get(one.section, one.name)) for one in figures.entries if one.unit == RATIO)
    return [Pair(one, same.value) for one, same in result if same is not None]


def table(figures: Figures, other: Figures) -> str:
    """Format the ratios of both runs as a Markdown table, with a summary above it."""
    both = pairs(figures, other)
    close = sum(pair.apart <= CLOSE for pair in both)
    lines = [
        f"- this run: {_describe_run(figures)}",
        f"- the other run: {_describe_run(other)}",
        f"- **{close} of {len(both)} ratios are within {CLOSE:.0%} of each other**",
        "",
        "| Section | Ratio | This run | The other run | Apart |",
        "|---|---|--:|--:|--:|",
    ]
    section = ""
    for pair in both:
        label = "" if pair.figure.section == section else f"**{pair.figure.section}**"
        section = pair.figure.section
        apart = f"{pair.apart:.0%}" if pair.apart <= CLOSE else f"**{pair.apart:.0%}**"
        lines.append(f"| {label} | {pair.figure.name} | {number(pair.figure.value)} | {number(pair.other)} | {apart} |")
    return "\n".join(lines)


def _describe_run(figures: Figures) -> str:
    """Time, commit, processor and command of a run."""
    return ", ".join(figures.about.get(name, "–") for name in ("measured", "commit", "cpu", "command"))
