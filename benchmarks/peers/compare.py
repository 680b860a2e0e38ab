"""Check the result of a program: quantiles within the error that its sketch states, events per minute exactly."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measured_process import JsonObject
from benchmarks.peers.topic_contents import TopicContents

MOST_BEYOND = 0.05
"""A result is wrong if more than this share of its quantiles is beyond the stated error, or one beyond twice the error.

The stated error has a confidence of 99 %, and the errors of the quantiles of a field are correlated."""


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


def compare(answer: JsonObject, contents: TopicContents) -> str:
    """Describe the errors of a result against the topic in its minutes; a wrong result is marked by `WRONG`."""
    stated: float = answer["rank_error"]
    minutes = {int(start): n for start, n in answer["minutes"].items()}
    exact = dict(list(contents.minutes().items())[: len(minutes)])
    if minutes != exact or not minutes:
        return f"**WRONG: events per minute are {list(minutes.values())}, not {list(exact.values())}**"
    columns = contents.within(minutes)
    errors = np.stack(
        [rank_errors(columns[name], answer["ranks"], answer["quantiles"][name]) for name in contents.numbers]
    )
    beyond = int((errors > stated).sum())
    if errors.max() > 2 * stated or beyond > MOST_BEYOND * errors.size:
        worst = contents.numbers[int(errors.max(axis=1).argmax())]
        message = f"{beyond} of {errors.size} quantiles are beyond {stated:.2%}"
        return f"**WRONG: {message}, one of {worst} is {errors.max():.2%} of ranks away**"
    return f"ranks within {errors.max():.2%}, {stated:.2%} stated"
