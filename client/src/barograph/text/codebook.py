"""A codebook: centroids of embeddings, so that each text has a topic, and the file that holds it.

The file is an npz without pickle with two members: `header`, the bytes of a JSON text, and `centroids`, a matrix of
32-bit floats with a row of length 1 per topic. The id is a hash of the whole content: contracts name a codebook by it.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import zipfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from barograph.text.embedding import EmbeddingName, Vectors
from barograph.text.errors import TextError

FORMAT_VERSION = 1
NEW = "new"
"""The topic of a text whose distance to the nearest centroid exceeds the threshold."""
MAX_CLUSTERS, MAX_DIMENSIONS = 1_000, 8_192
MAX_FILE_BYTES = 8 << 20
MAX_NAME_CHARS = 60
_NAME: Final = re.compile(r"[\w.:/@+=#~-]+(?: [\w.:/@+=#~-]+)*")
_MEMBERS = ("centroids.npy", "header.npy")
_LENGTH_TOLERANCE = 1e-3


class CodebookHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything of a codebook but its centroids."""

    format: int
    embedding: EmbeddingName
    names: tuple[str, ...]
    """The topics' names, by cluster."""
    threshold: float
    """Largest distance of a known topic: one minus the cosine to the nearest centroid."""
    quantile: float
    """The quantile of the held-out texts' distances that the threshold is."""
    n_training: int
    n_held_out: int
    seed: int


class AssignedTopics(NamedTuple):
    """The topics of texts."""

    names: list[str]
    """A topic's name, or `new`."""
    distances: Vectors
    """One minus the cosine to the nearest centroid, from 0 to 2."""


class Codebook:
    """Centroids and their names. Immutable."""

    def __init__(self, header: CodebookHeader, centroids: Vectors) -> None:
        """Check and assemble a codebook.

        Args:
            header: Everything but the centroids.
            centroids: A row of length 1 per topic.

        Raises:
            TextError: Header and centroids do not describe a codebook.
        """
        _check(header, centroids)
        self.header, self.centroids = header, np.ascontiguousarray(centroids, np.float32)
        self.id = _content_id(header, self.centroids)

    def assign(self, vectors: Vectors) -> AssignedTopics:
        """Return the topics of embeddings.

        Args:
            vectors: A row per text, of any length but 0; rows of zeros or of values that are not finite are `new`.

        Raises:
            TextError: The vectors have another number of dimensions.
        """
        similarities = self.similarities(vectors)
        nearest = similarities.argmax(axis=1)
        distances = 1 - similarities[np.arange(len(nearest)), nearest]
        names = [
            self.header.names[cluster] if distance <= self.header.threshold else NEW
            for cluster, distance in zip(nearest.tolist(), distances.tolist(), strict=True)
        ]
        return AssignedTopics(names, distances)

    def similarities(self, vectors: Vectors) -> Vectors:
        """Return the cosine of each vector to each centroid: a row per vector, a column per topic."""
        dimensions = self.header.embedding.dimensions
        if vectors.ndim != 2 or vectors.shape[1] != dimensions:
            raise TextError(
                f"the vectors have the shape {vectors.shape}, and {self.header.embedding.name} has {dimensions} "
                "dimensions; embed texts as the codebook was trained"
            )
        result: Vectors = np.clip(unit_rows(vectors) @ self.centroids.T, -1, 1)
        return result

    def renamed(self, names: dict[str, str]) -> Codebook:
        """Return the codebook with other names for some topics.

        Args:
            names: The topic's present name → its new one.

        Raises:
            TextError: A topic does not exist, or a name is not allowed.
        """
        unknown = sorted(set(names) - set(self.header.names))
        if unknown:
            raise TextError(f"the codebook has no topics {', '.join(unknown)}; it has {', '.join(self.header.names)}")
        renamed = tuple(names.get(name, name) for name in self.header.names)
        return Codebook(msgspec.structs.replace(self.header, names=renamed), self.centroids)

    def dump(self) -> bytes:
        """Return the bytes of the file: equal codebooks have equal bytes."""
        header = np.frombuffer(msgspec.json.encode(self.header), np.uint8)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, array in (("centroids", self.centroids), ("header", header)):
                data = io.BytesIO()
                np.lib.format.write_array(data, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data.getvalue())
        return buffer.getvalue()


def load_codebook(path: str | Path) -> Codebook:
    """Read a codebook's file.

    Raises:
        TextError: The file cannot be read or is not a codebook.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TextError(f"the codebook {path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    return parse_codebook(data, str(path))


def parse_codebook(data: bytes, name: str) -> Codebook:
    """Read a codebook from the bytes of its file.

    Args:
        name: What is read, for messages.

    Raises:
        TextError: The bytes are not a codebook.
    """
    if len(data) > MAX_FILE_BYTES:
        raise TextError(f"{name} is not a codebook: it has more than {MAX_FILE_BYTES:,} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            # Stored members cannot unpack to more than the file has.
            if sorted(entries) != sorted(_MEMBERS) or any(
                e.compress_type != zipfile.ZIP_STORED for e in entries.values()
            ):
                raise TextError(f"{name} is not a codebook: its members are not {' and '.join(_MEMBERS)}, uncompressed")
            centroids, header_bytes = (_read_array(archive.read(member), name) for member in _MEMBERS)
    except TextError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise TextError(
            f"{name} is not a codebook: it is not an npz file, or damaged ({type(error).__name__})"
        ) from error
    if header_bytes.dtype != np.uint8 or centroids.dtype != np.float32:
        raise TextError(f"{name} is not a codebook: its members have the types {header_bytes.dtype}, {centroids.dtype}")
    try:
        header = msgspec.json.decode(header_bytes.tobytes(), type=CodebookHeader)
        return Codebook(header, centroids)
    except msgspec.MsgspecError as error:
        raise TextError(f"{name} is not a codebook: its header cannot be read: {error}") from error
    except TextError as error:
        raise TextError(f"{name} is not a codebook: {error}") from error


def _read_array(data: bytes, name: str) -> Any:
    """Read one npy member. Its header is checked before memory is taken for it."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise TextError(f"{name} is not a codebook: a member has an unknown format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    rest = len(data) - stream.tell()
    if fortran_order or dtype.hasobject or math.prod(shape) * dtype.itemsize != rest:
        raise TextError(f"{name} is not a codebook: a member has {rest:,} bytes, which is not what its header says")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)


def unit_rows(vectors: Vectors) -> Vectors:
    """Scale each row to the length 1; rows of zeros or of values that are not finite become zeros."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    usable = np.isfinite(lengths) & (lengths > 0)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=usable), np.float32)


def _check(header: CodebookHeader, centroids: Vectors) -> None:
    if header.format != FORMAT_VERSION:
        raise TextError(f"its format is {header.format}, and this release reads {FORMAT_VERSION}")
    n_clusters, dimensions = len(header.names), header.embedding.dimensions
    if not (1 <= n_clusters <= MAX_CLUSTERS and 1 <= dimensions <= MAX_DIMENSIONS):
        raise TextError(
            f"it has {n_clusters} topics of {dimensions} dimensions; at most {MAX_CLUSTERS} of {MAX_DIMENSIONS}"
        )
    if centroids.shape != (n_clusters, dimensions):
        raise TextError(f"its centroids have the shape {centroids.shape}, not {(n_clusters, dimensions)}")
    if not np.all(np.abs(np.linalg.norm(centroids.astype(np.float64), axis=1) - 1) <= _LENGTH_TOLERANCE):
        raise TextError("its centroids do not have the length 1")
    if not (0 < header.threshold <= 2 and 0 < header.quantile <= 1 and min(header.n_training, header.n_held_out) >= 0):
        raise TextError("its threshold, quantile or numbers of texts are out of range")
    for name in header.names:
        if name == NEW or len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(name):
            raise TextError(
                f"{name[:MAX_NAME_CHARS]!r} is not a name of a topic: at most {MAX_NAME_CHARS} letters, digits and "
                f"signs of names with single spaces, and not {NEW}"
            )
    if len(set(header.names)) != n_clusters:
        raise TextError("two topics have the same name")


def _content_id(header: CodebookHeader, centroids: Vectors) -> str:
    digest = hashlib.sha256(msgspec.json.encode(header))
    digest.update(centroids.astype("<f4").tobytes())
    return digest.hexdigest()[:16]
