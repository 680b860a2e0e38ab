"""Check the result of a program: quantiles within the error that its sketch states, counts exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measured_process import JsonObject
from benchmarks.peers.topic_contents import TopicContents, counted

MOST_BEYOND = 0.05
"""A result is wrong if more than this share of its quantiles is beyond the stated error, or one beyond twice the error.

The stated error has a confidence of 99 %, and the errors of the quantiles of a field are correlated."""


@dataclass
class Comparison:
    """Outcome of a comparison of quantiles and counts."""

    stated: float = 0.0
    """The error that the sketch states, as a share of ranks."""
    worst: float = 0.0
    """The largest measured error, as a share of ranks."""
    compared: int = 0
    """Number of quantiles."""
    beyond: int = 0
    """Number of quantiles beyond the stated error."""
    wrong: list[str] = field(default_factory=list)
    """Descriptions of errors; empty if the result is right."""

    def note(self) -> str:
        """Summarize the outcome."""
        if self.wrong:
            return f"**WRONG: {'; '.join(self.wrong[:3])}**"
        return f"ranks within {self.worst:.2%}, {self.stated:.2%} stated" if self.compared else "right"


def rank_errors(values: NDArray[Any], ranks: list[float], quantiles: list[float]) -> NDArray[np.float64]:
    """Distance of each quantile from an exact one, as a share of ranks.

    Args:
        values: the sketched values, shape (n,), in any order.
        ranks: the requested ranks, shape (r,).
        quantiles: the quantiles of the sketch, shape (r,). Compared as 32-bit floats, which most sketches store.

    Returns:
        Shape (r,); 0 for an exact quantile, 1 for one that is not finite.
    """
    ordered = np.sort(values.astype(np.float32))
    answers = np.array(quantiles, dtype=np.float32)
    below = np.searchsorted(ordered, answers, side="left") / len(ordered)
    up_to = np.searchsorted(ordered, answers, side="right") / len(ordered)
    expected = np.array(ranks)
    errors = np.maximum(0.0, np.maximum(below - expected, expected - up_to))
    return np.where(np.isfinite(answers), errors, 1.0)


def compare(answer: JsonObject, contents: TopicContents) -> Comparison:
    """Compare the result of a program with the contents of the topic in the minutes of the result."""
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
