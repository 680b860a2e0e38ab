"""Texts per CPU-second of the features of prompts and answers: `python -m benchmarks.text` prints a table.

Run it on one core without other load; `docs/llm.md` quotes it.
"""

import time
from collections.abc import Callable, Sequence

from barograph.contract import Contract, Text
from barograph.text.embedding import SentenceEncoder
from barograph.text.features import GenerationText, TextObserver
from barograph.text.training import train_codebook

SHORT = "How do I reset the password of my account number {0}?"
LONG = " ".join([SHORT] * 8)
N, BATCH, CLUSTERS, PASSES = 128, 64, 16, 2


def texts_per_cpu_second(work: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """Return the best rate of several passes."""
    rates = []
    for _ in range(PASSES):
        began = time.process_time()
        work(texts)
        rates.append(len(texts) / (time.process_time() - began))
    return max(rates)


def steps() -> dict[str, Callable[[Sequence[str]], object]]:
    """Return what is measured, by its name."""
    encoder = SentenceEncoder()
    vectors = encoder.encode([SHORT.format(i) + " word" * (i % 40) for i in range(200)])
    codebook = train_codebook(vectors, encoder.name(), n_clusters=CLUSTERS)
    with_topics = TextObserver(Contract(model="m", text=Text(codebook=codebook.id)), codebook)
    without = TextObserver(Contract(model="m", text=Text()))

    def observe(observer: TextObserver, batch: int) -> Callable[[Sequence[str]], object]:
        def work(texts: Sequence[str]) -> None:
            for start in range(0, len(texts), batch):
                observer.observe_all([GenerationText("id", text, text) for text in texts[start : start + batch]])

        return work

    return {
        f"without topics, {BATCH} at once": observe(without, BATCH),
        "with topics, one by one": observe(with_topics, 1),
        f"with topics, {BATCH} at once": observe(with_topics, BATCH),
    }


def main() -> None:
    texts = {kind: [text.format(i) for i in range(N)] for kind, text in (("short", SHORT), ("long", LONG))}
    lengths = [len(each[0]) for each in texts.values()]
    print(f"| texts per CPU-second | {lengths[0]} characters | {lengths[1]} characters |")
    print("|---|---|---|")
    for name, work in steps().items():
        rates = (f"{texts_per_cpu_second(work, each):,.0f}" for each in texts.values())
        print(f"| {name} | {' | '.join(rates)} |", flush=True)


if __name__ == "__main__":
    main()
