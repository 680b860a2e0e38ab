"""The input files of `codebook`: texts, their vectors, and names of topics."""

from pathlib import Path

import msgspec
import numpy as np
from barograph.contract.kinds import Key, MapKind, RecordKind, TextKind
from barograph.contract.yaml_tree import read_file, read_tree
from barograph.text.content import normalize
from barograph.text.embedding import Vectors

from barograph_server.errors import CommandError
from barograph_server.warehouse.configuration import read_value

MEMBERS = ("prompt", "text")
"""Members of a line that hold its text, in order of preference."""
MAX_LINE_BYTES = 1 << 20
MAX_TEXTS = 1_000_000
_NAMES = RecordKind((Key("names", MapKind(TextKind()), "the topic's present name and its new one", required=True),))


def read_texts(path: Path) -> list[str]:
    """Read a text per line: a JSON text, or an object with the member `prompt` or `text`.

    Texts that differ only in capitals and white space count once: otherwise held-out texts would also be training
    texts.
    """
    texts: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number > MAX_TEXTS:
                    raise CommandError(f"{path} has more than {MAX_TEXTS:,} lines: take a sample of them.")
                if line.strip():
                    text = _text_of(line, f"{path}, line {number}")
                    texts.setdefault(normalize(text), text)
    except OSError as error:
        raise CommandError(f"The texts {path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    texts.pop("", None)
    if not texts:
        raise CommandError(f"{path} has no texts: write one JSON object with the member prompt per line.")
    return list(texts.values())


def _text_of(line: bytes, where: str) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise CommandError(f"{where} has more than {MAX_LINE_BYTES:,} bytes: shorten the text.")
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CommandError(f"{where} is not JSON: {error}.") from error
    if isinstance(value, dict):
        value = next((value[member] for member in MEMBERS if member in value), None)
    if not isinstance(value, str):
        raise CommandError(f'{where} has no text: write {{"prompt": "…"}}.')
    return value


def read_vectors(path: Path) -> Vectors:
    """Read a matrix with a row per text from a npy file."""
    try:
        vectors = np.load(path, allow_pickle=False)
    except OSError as error:
        raise CommandError(f"The vectors {path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except (ValueError, EOFError) as error:
        raise CommandError(f"{path} is not a npy file of numbers: write it with numpy.save.") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise CommandError(f"{path} does not hold a matrix of floats: write a row per text.")
    return vectors.astype(np.float32)


def read_names(path: Path) -> dict[str, str]:
    """Read new names of topics from YAML: `names: {t0: billing, t7: refunds}`.

    Raises:
        ContractError: the file cannot be read, or holds something else; the text has a line per problem.
    """
    values = read_value(_NAMES, read_tree(read_file(path, "a file of names"), str(path)), (), str(path))
    names: dict[str, str] = values["names"]
    return names
