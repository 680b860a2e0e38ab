from collections.abc import Sequence

import numpy as np
import pytest
from barograph.contract import Contract, Text
from barograph.text.codebook import Codebook, CodebookHeader
from barograph.text.embedding import EmbeddingName, SentenceEncoder, Vectors
from barograph.text.errors import TextError
from barograph.text.features import GenerationText, TextObserver

QUESTION = "How do I reset my password?"


class Lengths:
    def encode(self, texts: Sequence[str]) -> Vectors:
        return np.array([[1.0, 0.0] if len(text) % 2 else [0.0, 1.0] for text in texts], np.float32)


def codebook(embedding: EmbeddingName) -> Codebook:
    header = CodebookHeader(
        format=1,
        embedding=embedding,
        names=("odd", "even"),
        threshold=0.5,
        quantile=0.99,
        n_training=8,
        n_held_out=2,
        seed=0,
    )
    return Codebook(header, np.eye(2, embedding.dimensions, dtype=np.float32))


OWN = codebook(EmbeddingName("lengths", "1", 2))


def contract(**text: object) -> Contract:
    return Contract(model="m", text=Text(**text))  # type: ignore[arg-type]


def test_all_features_with_an_encoder_of_ones_own() -> None:
    observer = TextObserver(contract(codebook=OWN.id), OWN, encoder=Lengths())
    features, context, metrics = observer.observe("id", QUESTION, "```\nreset()\n```")
    assert features == {
        "language": "en",
        "code_share": pytest.approx(13 / 35, abs=0.01),
        "topic": "odd",
        "topic_distance": 0,
    }
    assert context == {}
    assert metrics == {"input_chars": 27, "output_chars": 15}


def test_what_is_not_known_is_absent() -> None:
    observer = TextObserver(contract(codebook=OWN.id), OWN, encoder=Lengths())
    nothing, only_answer = observer.observe_all([GenerationText("a"), GenerationText("b", None, "An answer")])
    assert nothing == ({}, {}, {})
    assert only_answer == ({"code_share": 0}, {}, {"output_chars": 9})


def test_a_batch_gives_the_values_of_single_generations() -> None:
    observer = TextObserver(contract(codebook=OWN.id, content="keep", sample=0.5), OWN, encoder=Lengths())
    generations = [GenerationText(f"g{i}", "word " * i or None, "answer" if i % 3 else None) for i in range(40)]
    assert observer.observe_all(generations) == [observer.observe(*each) for each in generations]


def test_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BAROGRAPH_PII_KEY", raising=False)
    other = codebook(EmbeddingName("else", "1", 512))
    for arguments, reason in (
        ((Contract(model="m"),), "no section text"),
        ((contract(), OWN), "names none"),
        ((contract(codebook=OWN.id), other), f"names {OWN.id}"),
        ((contract(codebook=other.id), other), "needs the embedding else 1"),
        ((contract(content="hash"),), "BAROGRAPH_PII_KEY"),
        ((contract(languages=("xx",)),), "xx"),
    ):
        with pytest.raises(TextError, match=reason):
            TextObserver(*arguments)


def test_the_encoder_finds_paraphrases_nearer_than_other_topics() -> None:
    encoder = SentenceEncoder()
    first, same, other = encoder.encode(
        [QUESTION, "I forgot my password, how can I set a new one", "What is the weather?"]
    )
    assert first @ same > first @ other + 0.2
    assert encoder.encode([]).shape == (0, 512)
    assert np.isfinite(encoder.encode(["", "\ud800", "x" * 100_000])).all()
