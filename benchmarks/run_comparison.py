"""Two runs side by side: every ratio that both have measured, and how far apart they are.

Rates follow the machine and what else it does; ratios were measured in turns within their run, and are to be the same
in another.
"""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.figures import Figure, Figures, number

CLOSE = 0.15
"""Two runs are meant to give ratios that are no further apart, as a share of the smaller one."""
RATIO = "×"


class Pair(NamedTuple):
    """One ratio in two runs."""

    figure: Figure
    """Of the run that is shown."""
    other: float
    """In the other run."""

    @property
    def apart(self) -> float:
        """How far the greater one is above the smaller one, as a share of it."""
        small, great = sorted((self.figure.value, self.other))
        return great / small - 1 if small > 0 else 0.0 if great == small else float("inf")


def pairs(figures: Figures, other: Figures) -> list[Pair]:
    """Find every ratio that both runs have, in the order of the run that is shown."""
    result = ((one, other.get(one.section, one.name)) for one in figures.entries if one.unit == RATIO)
    return [Pair(one, same.value) for one, same in result if same is not None]


def table(figures: Figures, other: Figures) -> str:
    """Write both runs' ratios as a Markdown table, with a list above it that counts them."""
    both = pairs(figures, other)
    close = sum(pair.apart <= CLOSE for pair in both)
    lines = [
        f"- this run: {_said(figures)}",
        f"- the other run: {_said(other)}",
        f"- **{close} of {len(both)} ratios are within {CLOSE:.0%} of each other**",
        "",
        "| Section | Ratio | This run | The other run | Apart |",
        "|---|---|--:|--:|--:|",
    ]
    section = ""
    for pair in both:
        shown = "" if pair.figure.section == section else f"**{pair.figure.section}**"
        section = pair.figure.section
        apart = f"{pair.apart:.0%}" if pair.apart <= CLOSE else f"**{pair.apart:.0%}**"
        lines.append(f"| {shown} | {pair.figure.name} | {number(pair.figure.value)} | {number(pair.other)} | {apart} |")
    return "\n".join(lines)


def _said(figures: Figures) -> str:
    """Tell when a run was, of what, and by which command."""
    return ", ".join(figures.about.get(name, "–") for name in ("measured", "commit", "cpu", "command"))
