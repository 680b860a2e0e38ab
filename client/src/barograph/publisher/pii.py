"""Personal data is hashed, cut or dropped before an event leaves the process, as the contract says.

A keyed hash keeps equality and nothing else: values can be counted and compared with a baseline that was hashed
with the same key, and cannot be found by hashing guesses without the key.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from barograph.contract import Contract
from barograph.values import text_of

KEY_VARIABLE = "BAROGRAPH_PII_KEY"
MIN_KEY_BYTES = 16
HASH_CHARS = 32
"""Hexadecimal digits kept of a hash: 128 bits, so that 10⁹ values collide with probability 10⁻²¹."""
TRUNCATED_CHARS = 3
"""Characters that `truncate` keeps: a region of a postal code, a country of a phone number."""

Action = str
"""`hash`, `drop` or `truncate`."""


class PiiKeyError(ValueError):
    """A contract asks for hashes, and there is no usable key."""


def hash_text(key: bytes, text: str) -> str:
    """Hash text with a key: HMAC-SHA-256, the first 32 hexadecimal digits."""
    return hmac.digest(key, text.encode("utf-8", "replace"), "sha256").hex()[:HASH_CHARS]


def read_key(contract: Contract, key: str | bytes | None = None) -> bytes:
    """Find the key for a contract's hashes: the given one, else that in the environment's BAROGRAPH_PII_KEY.

    Returns no bytes where the contract hashes nothing.

    Raises:
        PiiKeyError: a field is hashed, and the key is missing or shorter than 16 bytes.
    """
    hashed = [field.name for field in contract.fields if field.pii == "hash"]
    if not hashed:
        return b""
    found = os.environ.get(KEY_VARIABLE, "") if key is None else key
    secret = found.encode() if isinstance(found, str) else found
    if len(secret) < MIN_KEY_BYTES:
        state = f"has {len(secret)} bytes" if secret else "is missing"
        raise PiiKeyError(
            f"the contract of {contract.model} hashes {', '.join(hashed)}, and the key {state}; set "
            f"{KEY_VARIABLE} to a secret of at least {MIN_KEY_BYTES} bytes, the same wherever the model is "
            "trained and served"
        )
    return secret


class Pii:
    """What is done to which member, for one contract."""

    def __init__(self, contract: Contract, key: bytes) -> None:
        self._key = key
        self._actions: dict[str, dict[str, Action]] = {}
        for field in contract.fields:
            room, _, name = field.source.partition(".")
            if field.pii != "keep" and name:
                self._actions.setdefault(room, {})[name] = field.pii

    def actions(self, room: str) -> dict[str, Action]:
        """The actions on members of `features`, `context` or `metrics`, by name; usually none."""
        return self._actions.get(room, {})

    def protect(self, room: str, members: Mapping[Any, Any]) -> dict[Any, Any]:
        """Copy a map without personal data; the given map is left as it is.

        Keys are compared as they are written: an `Enum` or a number names a member too.
        """
        kept = dict(members)
        if not all(type(name) is str for name in kept):
            kept = {text_of(name) or "": value for name, value in kept.items()}
        for name, action in self.actions(room).items():
            if name not in kept:
                continue
            if action == "drop":
                del kept[name]
            else:
                text = text_of(kept[name])
                kept[name] = None if text is None else self._text(action, text)
        return kept

    def protect_column(self, column: str, values: pa.Array) -> pa.Array | None:
        """Do the same to an Arrow column named `ROOM.NAME`; None where it is dropped.

        Text columns cost one hash per distinct value; nulls stay null.
        """
        room, _, name = column.partition(".")
        action = self.actions(room).get(name)
        if action is None:
            return values
        if action == "drop":
            return None
        encoded = values.cast(pa.string()).dictionary_encode()
        distinct = [None if text is None else self._text(action, text) for text in encoded.dictionary.to_pylist()]
        return pc.take(pa.array(distinct, pa.string()), encoded.indices)

    def _text(self, action: Action, text: str) -> str:
        return hash_text(self._key, text) if action == "hash" else text[:TRUNCATED_CHARS]
