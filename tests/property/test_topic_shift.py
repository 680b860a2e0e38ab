"""Topics of real texts: a change of their mix is `major` when predicted, and other wording alone is not.

The questions, the encoder, the codebook and the verdicts are real; only the times of events are simulated.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest
from barograph.text.codebook import NEW, Codebook
from barograph.text.embedding import SentenceEncoder, Vectors
from barograph.text.training import train_codebook
from numpy.typing import NDArray

from sketches.baseline.levels import Level
from sketches.drift.psi import psi_verdicts
from tests.reference.page_times import HOURS, Change, predicted_hours
from tests.support.questions import NAMES, REWORDED, USUAL, all_questions, questions, topic_of

pytestmark = pytest.mark.slow

CLUSTERS = len(NAMES)
TRAINING, BASELINE = 4_000, 20_000
EVENTS = 1_200
"""Predictions in a window of 24 hours."""
SEEDS = 3
RUNS = 10
"""Runs per seed."""
SIMULATED_HOURS = 24
USUAL_MIX, SHIFTED_MIX = {"refund": 0.1}, {"refund": 0.4}


@lru_cache(maxsize=1)
def vectors() -> dict[str, Vectors]:
    texts = all_questions(USUAL) + all_questions(REWORDED)
    return dict(zip(texts, SentenceEncoder().encode(texts), strict=True))


@lru_cache(maxsize=SEEDS)
def trained(seed: int) -> tuple[Codebook, dict[str, int]]:
    """A codebook of both wordings, and the cell of each question: its topic, or the last one for `new`."""
    rng = np.random.default_rng(seed)
    texts = questions(USUAL_MIX, TRAINING // 2, rng, USUAL) + questions(USUAL_MIX, TRAINING // 2, rng, REWORDED)
    rows = np.array([vectors()[text] for text in texts])
    codebook = train_codebook(rows, SentenceEncoder.name(), n_clusters=CLUSTERS, seed=seed)
    names = codebook.assign(np.array(list(vectors().values()))).names
    cells = (*codebook.header.names, NEW)
    return codebook, {text: cells.index(name) for text, name in zip(vectors(), names, strict=True)}


def counts(seed: int, texts: list[str]) -> NDArray[np.int64]:
    _, cells = trained(seed)
    return np.bincount([cells[text] for text in texts], minlength=CLUSTERS + 1).astype(np.int64)


def baseline(seed: int) -> NDArray[np.int64]:
    return counts(seed, questions(USUAL_MIX, BASELINE, np.random.default_rng(100 + seed)))


def level(base: NDArray[np.int64], windows: NDArray[np.int64]) -> NDArray[np.int8]:
    verdicts: NDArray[np.int8] = psi_verdicts(base, windows, [0]).level[:, 0]
    return verdicts


def hours_to_major(seed: int, rng: np.random.Generator) -> float:
    """Simulate one run: the mix changes at a random moment of an hour; windows of 24 hours hop every hour."""
    begin = float(rng.random())
    per_hour = EVENTS // HOURS
    hourly = [counts(seed, questions(USUAL_MIX, per_hour, rng)) for _ in range(HOURS)]
    for hour in range(SIMULATED_HOURS):
        changed = per_hour if hour else round(per_hour * (1 - begin))
        texts = questions(USUAL_MIX, per_hour - changed, rng) + questions(SHIFTED_MIX, changed, rng)
        hourly.append(counts(seed, texts))
        window = np.sum(hourly[-HOURS:], axis=0)
        if level(baseline(seed), window[None])[0] == Level.major:
            return hour + 1 - begin
    return math.inf


def test_a_change_of_the_mix_is_major_when_it_is_predicted() -> None:
    inside = 0
    for seed in range(SEEDS):
        before = baseline(seed)
        after = counts(seed, questions(SHIFTED_MIX, BASELINE, np.random.default_rng(200 + seed)))
        change = Change("mix", before / before.sum(), after / after.sum())
        low, _, high = predicted_hours(change, EVENTS, 1)
        assert math.isfinite(high)
        rng = np.random.default_rng(300 + seed)
        found = [hours_to_major(seed, rng) for _ in range(RUNS)]
        # A verdict comes with the end of an hour, so the time is known to a hop.
        inside += sum(low - 1 <= hours <= high + 1 for hours in found)
    assert inside >= 0.7 * SEEDS * RUNS


@pytest.mark.parametrize("seed", range(SEEDS))
def test_other_wording_alone_is_not_major_and_the_same_wording_is_stable(seed: int) -> None:
    rng = np.random.default_rng(400 + seed)
    reworded = counts(seed, questions(USUAL_MIX, EVENTS, rng, REWORDED))
    usual = counts(seed, questions(USUAL_MIX, EVENTS, rng))
    levels = level(baseline(seed), np.array([reworded, usual]))
    assert levels[0] < Level.major
    assert levels[1] == Level.stable


@pytest.mark.parametrize("seed", range(SEEDS))
def test_clusters_are_topics(seed: int) -> None:
    _, cells = trained(seed)
    by_cell: dict[int, Counter[str]] = {}
    for text, cell in cells.items():
        by_cell.setdefault(cell, Counter())[topic_of(text)] += 1
    purity = sum(max(topics.values()) for topics in by_cell.values()) / len(cells)
    assert purity > 0.6
