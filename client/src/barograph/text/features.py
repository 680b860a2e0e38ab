"""Features of prompts and answers: language, share of code, topic and its distance.

The receiver of spans and serving processes compute them with the same code, so that both give the same values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from barograph.contract import Contract
from barograph.publisher.pii import PiiKeyError, read_text_key
from barograph.text.codebook import Codebook
from barograph.text.content import ContentPolicy
from barograph.text.embedding import Encoder, SentenceEncoder
from barograph.text.errors import TextError
from barograph.text.language import UNKNOWN, LanguageDetector

LANGUAGE, CODE_SHARE, TOPIC, TOPIC_DISTANCE = "language", "code_share", "topic", "topic_distance"
"""Members of `features`."""
MAX_CODE_SHARE = 0.5
"""Share of code in a prompt from which its language is `unknown`: program code resembles arbitrary languages."""
INPUT_CHARS, OUTPUT_CHARS = "input_chars", "output_chars"
"""Members of `metrics`: lengths of prompt and answer in characters."""


class GenerationText(NamedTuple):
    """The texts of one generation."""

    id: str
    """The prediction's id."""
    prompt: str | None = None
    """The last message of the user; None if it is not known."""
    answer: str | None = None


class ObservedText(NamedTuple):
    """What an event contains of the texts of one generation."""

    features: dict[str, Any]
    context: dict[str, str]
    metrics: dict[str, float]


class TextObserver:
    """Computes what events contain of texts, as one contract says. Safe to share between threads."""

    def __init__(
        self,
        contract: Contract,
        codebook: Codebook | None = None,
        *,
        key: str | bytes | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """Load the detector of languages, and with a codebook the encoder.

        Args:
            contract: With a section `text`.
            codebook: The codebook that the contract names.
            key: The secret for hashes; by default that of the environment variable BAROGRAPH_PII_KEY.
            encoder: Embeds texts as the codebook was trained; by default the encoder of the extra `text`.

        Raises:
            TextError: The contract has no section `text`, the codebook is another one than it names, its embedding is
                not the encoder's, a package is missing, or hashes need a key.
        """
        if contract.text is None:
            raise TextError(f"the contract of {contract.model} has no section text; add text: {{}}")
        if codebook is not None and codebook.id != contract.text.codebook:
            named = contract.text.codebook or "none"
            raise TextError(f"the codebook is {codebook.id}, and the contract of {contract.model} names {named}")
        try:
            secret = read_text_key(contract, key)
        except PiiKeyError as error:
            raise TextError(str(error)) from error
        self._languages = LanguageDetector(contract.text.languages)
        self._policy = ContentPolicy(contract, secret)
        self._codebook, self._encoder = codebook, encoder
        if codebook is not None and encoder is None:
            check_embedding(codebook)
            self._encoder = SentenceEncoder()

    def observe(self, id: Any, prompt: str | None = None, answer: str | None = None) -> ObservedText:
        """Return what the event of one generation contains of its texts.

        Args:
            id: The prediction's id.
            prompt: The last message of the user.
        """
        return self.observe_all([GenerationText(str(id), prompt, answer)])[0]

    def observe_all(self, generations: Sequence[GenerationText]) -> list[ObservedText]:
        """Return what the events of generations contain of their texts: all texts are embedded at once."""
        with_prompt = [i for i, each in enumerate(generations) if each.prompt]
        topics: dict[int, tuple[str, float]] = {}
        if self._codebook is not None and self._encoder is not None and with_prompt:
            vectors = self._encoder.encode([generations[i].prompt or "" for i in with_prompt])
            names, distances = self._codebook.assign(vectors)
            rounded = [round(distance, 5) for distance in distances.tolist()]
            topics = dict(zip(with_prompt, zip(names, rounded, strict=True), strict=True))
        return [self._observe(each, topics.get(i)) for i, each in enumerate(generations)]

    def _observe(self, generation: GenerationText, topic: tuple[str, float] | None) -> ObservedText:
        _, prompt, answer = generation
        features: dict[str, Any] = {}
        if prompt:
            is_code = (code_share(prompt) or 0.0) >= MAX_CODE_SHARE
            features[LANGUAGE] = UNKNOWN if is_code else self._languages.detect(prompt)
        share = code_share("\n".join(filter(None, (prompt, answer))))
        if share is not None:
            features[CODE_SHARE] = round(share, 4)
        if topic is not None:
            features[TOPIC], features[TOPIC_DISTANCE] = topic
        texts = ((INPUT_CHARS, prompt), (OUTPUT_CHARS, answer))
        metrics = {name: float(len(text)) for name, text in texts if text is not None}
        return ObservedText(features, self._policy.members(*generation), metrics)


def check_embedding(codebook: Codebook) -> None:
    """Check that a codebook was trained with the encoder of the extra `text`.

    Raises:
        TextError: It was trained with another embedding, or the encoder is not installed.
    """
    own, trained = SentenceEncoder.name(), codebook.header.embedding
    if own != trained:
        raise TextError(
            f"the codebook {codebook.id} needs the embedding {trained.name} {trained.version}, and this process has "
            f"{own.name} {own.version}; embed in the serving process, or train a codebook with this encoder"
        )


MAX_CHARS = 20_000
"""Characters that are read of a text; the rest does not count."""
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_CODE_LINE = re.compile(
    r"[ \t]*(?:"
    r"(?:def|class|import|from|return|elif|else:|try:|except|for|while|with|async|await|lambda|raise)\b.*[:(=]\s*\S*\s*$"
    r"|(?:import\s+[\w.]+(?:\s+as\s+\w+)?|from\s+[\w.]+\s+import\s+[\w., *()]+)$"
    r"|(?:const|let|var|function|public|private|static|void|int|fn|func|struct|package|#include|#define|using)\b.*[;{}()<>\"]\s*$"
    r"|(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|FROM|WHERE|JOIN)\b.*[*=,;()]"
    r"|</?[A-Za-z][\w:-]*(?:\s[^<>]*)?>"
    r"|[\w.\[\]\"']+\s*(?:=|\+=|:=|->|=>)\s*\S"
    r"|[\w.]+\([^()]*\)\s*;?\s*$"
    r"|[{}\[\]();,]+\s*$"
    r"|(?:\$|>>>)\s\S"
    r"|.*[;{]\s*$"
    r")"
)
_MAX_LINE_CHARS = 400
"""Longer lines are prose: the pattern does not read them."""


def code_share(text: str) -> float | None:
    """Return the share of characters, from 0 to 1, that are code; None for an empty text.

    Everything between two fences (three backticks or tildes at the start of a line) is code, and after a fence that
    is not closed. Outside of fences, a line is code if it looks like a statement of a usual language. White space
    does not count.
    """
    text = text[:MAX_CHARS]
    total = code = 0
    in_fence = False
    for line in text.splitlines():
        n_chars = len(line) - line.count(" ") - line.count("\t")
        if _FENCE.match(line):
            in_fence = not in_fence
            total, code = total + n_chars, code + n_chars
            continue
        total += n_chars
        if in_fence or (len(line) <= _MAX_LINE_CHARS and _CODE_LINE.match(line)):
            code += n_chars
    return code / total if total else None
