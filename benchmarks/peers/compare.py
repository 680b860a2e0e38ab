"""Whether a program's answers are right: quantiles within the error that its sketch states, counts exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measured_process import JsonObject
from benchmarks.peers.topic_contents import TopicContents, counted

MOST_BEYOND = 0.05
"""The error that a sketch states holds with 99 % confidence, and the quantiles of one field miss together. A program is
wrong where more than this share of its quantiles is beyond the error, or one beyond twice the error."""


@dataclass
class Comparison:
    """What was compared and what was wrong."""

    stated: float = 0.0
    """The error that the sketch states, as a share of ranks."""
    worst: float = 0.0
    """The greatest that was found."""
    compared: int = 0
    beyond: int = 0
    """Quantiles compared, and those of them beyond the stated error."""
    wrong: list[str] = field(default_factory=list)

    def note(self) -> str:
        """Say it in a few words."""
        if self.wrong:
            return f"**WRONG: {'; '.join(self.wrong[:3])}**"
        return f"ranks within {self.worst:.2%}, {self.stated:.2%} stated" if self.compared else "right"


def rank_errors(values: NDArray[Any], ranks: list[float], quantiles: list[float]) -> NDArray[np.float64]:
    """How far, as a share of ranks, each quantile is from one that is exact.

    Args:
        values: all that was sketched, (n,), in any order.
        ranks: what was asked for, (r,).
        quantiles: what was answered, (r,). Compared as 32-bit floats, since that is what most sketches keep.

    Returns:
        Shape (r,); 0 where the answer is exact, 1 where it is no number.
    """
    ordered = np.sort(values.astype(np.float32))
    answers = np.array(quantiles, dtype=np.float32)
    below = np.searchsorted(ordered, answers, side="left") / len(ordered)
    up_to = np.searchsorted(ordered, answers, side="right") / len(ordered)
    expected = np.array(ranks)
    errors = np.maximum(0.0, np.maximum(below - expected, expected - up_to))
    return np.where(np.isfinite(answers), errors, 1.0)


def compare(answer: JsonObject, contents: TopicContents) -> Comparison:
    """Compare what a program found with what the topic held in the minutes that it names."""
    result = Comparison(stated=answer["rank_error"])
    minutes = {int(start): n for start, n in answer["minutes"].items()}
    exact = dict(list(contents.minutes().items())[: len(minutes)])
    if minutes != exact or not minutes:
        result.wrong.append(f"events per minute are {list(minutes.values())}, not {list(exact.values())}")
    columns = contents.within(minutes)
    if not len(columns["at"]):
        return result
    for name in contents.numbers:
        errors = rank_errors(columns[name], answer["ranks"], answer["quantiles"][name])
        result.compared += len(errors)
        result.beyond += int((errors > result.stated).sum())
        result.worst = max(result.worst, float(errors.max()))
        if errors.max() > 2 * result.stated:
            result.wrong.append(f"a quantile of {name} is {errors.max():.2%} of ranks away")
    if result.beyond > MOST_BEYOND * result.compared:
        result.wrong.append(f"{result.beyond} of {result.compared} quantiles are beyond {result.stated:.2%}")
    for name in contents.texts:
        if answer["categories"][name] != counted(columns[name]):
            result.wrong.append(f"counts of {name} are {answer['categories'][name]}, not {counted(columns[name])}")
    return result
