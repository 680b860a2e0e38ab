"""Questions of customers about twelve topics, in two wordings: written for these tests."""

import csv
import itertools
from pathlib import Path

import numpy as np
from barograph.text.codebook import Codebook, CodebookHeader
from barograph.text.embedding import EmbeddingName
from numpy.random import Generator

ITEMS = ("laptop", "headphones", "coffee machine", "winter jacket", "running shoes", "desk lamp", "camera", "tent")
CITIES = ("Lisbon", "Toronto", "Hamburg", "Osaka", "Nairobi", "Lyon", "Denver", "Oslo")
DAYS = ("Monday", "Tuesday", "Friday", "last week", "two days ago", "this morning", "in March", "yesterday")
USUAL, REWORDED = 0, 1
Templates = tuple[str, ...]


def _read_topics() -> dict[str, tuple[Templates, Templates]]:
    """Read the templates of each topic in both wordings; a row of the file has the same question in both."""
    with Path(__file__).with_suffix(".tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    topics = dict.fromkeys(row["topic"] for row in rows)
    usual, reworded = (
        [tuple(row[wording] for row in rows if row["topic"] == topic) for topic in topics]
        for wording in ("usual", "reworded")
    )
    return dict(zip(topics, zip(usual, reworded, strict=True), strict=True))


TOPICS = _read_topics()
NAMES = tuple(TOPICS)


def questions(shares: dict[str, float], n: int, rng: Generator, wording: int = USUAL) -> list[str]:
    rest = (1 - sum(shares.values())) / (len(NAMES) - len(shares))
    topics = rng.choice(len(NAMES), n, p=[shares.get(name, rest) for name in NAMES])
    drawn = []
    for topic in topics.tolist():
        template = str(rng.choice(TOPICS[NAMES[topic]][wording]))
        words = {"item": rng.choice(ITEMS), "city": rng.choice(CITIES), "day": rng.choice(DAYS)}
        drawn.append(template.format(**words))
    return drawn


def all_questions(wording: int = USUAL) -> dict[str, str]:
    """Return all questions, each with its topic."""
    return {
        template.format(item=item, city=city, day=day): name
        for name, wordings in TOPICS.items()
        for template, item, city, day in itertools.product(wordings[wording], ITEMS, CITIES, DAYS)
    }


def codebook_of(embedding: EmbeddingName, *topics: str) -> Codebook:
    """Return a codebook whose centroids are the first axes."""
    header = CodebookHeader(
        format=1, embedding=embedding, names=topics, threshold=0.5, quantile=0.99, n_training=8, n_held_out=2, seed=0
    )
    return Codebook(header, np.eye(len(topics), embedding.dimensions, dtype=np.float32))
