import math
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest
from barograph.text.codebook import NEW, Codebook
from barograph.text.embedding import SentenceEncoder, Vectors
from barograph.text.training import train_codebook
from numpy.typing import NDArray

from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.drift.psi import psi_verdicts
from tests.reference.page_times import Change, predicted_hours
from tests.support.questions import NAMES, REWORDED, USUAL, all_questions, questions

CLUSTERS = len(NAMES)
TRAINING, POOL = 4_000, 10_000
EVENTS = 1_200
"""Predictions in a window of 24 hours."""
SEEDS = 3
TOPIC_OF = all_questions(USUAL) | all_questions(REWORDED)
USUAL_MIX, SHIFTED_MIX = (("refund", 0.1),), (("refund", 0.4),)


@lru_cache(maxsize=1)
def vectors() -> dict[str, Vectors]:
    return dict(zip(TOPIC_OF, SentenceEncoder().encode(list(TOPIC_OF)), strict=True))


@lru_cache(maxsize=SEEDS)
def trained(seed: int) -> tuple[Codebook, dict[str, int]]:
    """A codebook of both wordings, and the cell of each question: its topic, or the last one for `new`."""
    rng = np.random.default_rng(seed)
    texts = [text for wording in (USUAL, REWORDED) for text in questions(dict(USUAL_MIX), TRAINING // 2, rng, wording)]
    rows = np.array([vectors()[text] for text in texts])
    codebook = train_codebook(rows, SentenceEncoder.name(), n_clusters=CLUSTERS, seed=seed)
    names = codebook.assign(np.array(list(vectors().values()))).names
    cells = (*codebook.header.names, NEW)
    return codebook, {text: cells.index(name) for text, name in zip(vectors(), names, strict=True)}


Mix = tuple[tuple[str, float], ...]


@lru_cache(maxsize=4 * SEEDS)
def pool(seed: int, mix: Mix, wording: int = USUAL) -> NDArray[np.int64]:
    """Cells of many questions with a mix of topics, from which events are drawn."""
    _, cells = trained(seed)
    texts = questions(dict(mix), POOL, np.random.default_rng(100 + seed), wording)
    return np.array([cells[text] for text in texts])


def counts(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(cells, minlength=CLUSTERS + 1).astype(np.int64)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, SEEDS))])
def test_clusters_are_topics_and_a_change_of_their_mix_is_major_but_other_wording_is_not(seed: int) -> None:
    rng = np.random.default_rng(400 + seed)
    usual, reworded, shifted = pool(seed, USUAL_MIX), pool(seed, USUAL_MIX, REWORDED), pool(seed, SHIFTED_MIX)
    windows = [counts(rng.choice(each, EVENTS)) for each in (reworded, usual, shifted)]
    other_wording, same_wording, other_mix = psi_verdicts(counts(usual), np.array(windows), [0]).level[:, 0]
    assert other_wording < Level.major
    assert same_wording == Level.stable
    assert other_mix == Level.major
    change = Change("mix", counts(usual) / POOL, counts(shifted) / POOL)
    assert math.isfinite(predicted_hours(change, EVENTS, 1)[-1])
    _, cells = trained(seed)
    by_cell: dict[int, Counter[str]] = {}
    for text, cell in cells.items():
        by_cell.setdefault(cell, Counter())[TOPIC_OF[text]] += 1
    purity = sum(max(topics.values()) for topics in by_cell.values()) / len(cells)
    assert purity > 0.6
