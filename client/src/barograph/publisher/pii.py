"""Protection of personal data: values are hashed, truncated or dropped before an event leaves the process.

The contract says which. A keyed hash preserves equality only: hashed values can be counted and compared with a baseline
that was hashed with the same key. Without the key, nobody can recover them by hashing guesses.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from barograph.contract import Contract
from barograph.values import text_of

if TYPE_CHECKING:
    import pyarrow as pa

KEY_VARIABLE = "BAROGRAPH_PII_KEY"
"""The environment variable of the key."""
MIN_KEY_BYTES = 16
HASH_CHARS = 32
"""Hexadecimal digits of a hash: 128 bits, so that among 10⁹ values the probability of a collision is 10⁻²¹."""
TRUNCATED_CHARS = 3
"""Characters that `truncate` preserves: a region of a postal code, a country of a phone number."""

PiiAction = str
"""`hash`, `drop` or `truncate`."""


class PiiKeyError(ValueError):
    """A contract requires hashes, and there is no usable key."""


def hash_text(key: bytes, text: str) -> str:
    """Hash text with a key: HMAC-SHA-256, the first 32 hexadecimal digits."""
    return hmac.digest(key, text.encode("utf-8", "replace"), "sha256").hex()[:HASH_CHARS]


def read_key(contract: Contract, key: str | bytes | None = None) -> bytes:
    """Return the key for a contract's hashes; empty if the contract hashes nothing.

    Args:
        contract: The contract.
        key: The key; by default the environment variable BAROGRAPH_PII_KEY.

    Raises:
        PiiKeyError: A field is hashed, and the key is missing or shorter than 16 bytes.
    """
    hashed = [field.name for field in contract.fields if field.pii == "hash"]
    if not hashed:
        return b""
    value = os.environ.get(KEY_VARIABLE, "") if key is None else key
    secret = value.encode() if isinstance(value, str) else value
    if len(secret) < MIN_KEY_BYTES:
        state = f"has {len(secret)} bytes" if secret else "is missing"
        raise PiiKeyError(
            f"the contract of {contract.model} hashes {', '.join(hashed)}, and the key {state}; set "
            f"{KEY_VARIABLE} to a secret of at least {MIN_KEY_BYTES} bytes, the same wherever the model is "
            "trained and served"
        )
    return secret


class Pii:
    """The protected members of one contract and the action on each."""

    def __init__(self, contract: Contract, key: bytes) -> None:
        """Index the contract's protected members.

        Args:
            contract: The contract.
            key: The secret for hashes.
        """
        self._key = key
        self._actions: dict[str, dict[str, PiiAction]] = {}
        for field in contract.fields:
            map_name, _, name = field.source.partition(".")
            if field.pii != "keep" and name:
                self._actions.setdefault(map_name, {})[name] = field.pii

    def actions(self, map_name: str) -> dict[str, PiiAction]:
        """Return the actions on members of `features`, `context` or `metrics`, by name; usually none."""
        return self._actions.get(map_name, {})

    def protect(self, map_name: str, members: Mapping[Any, Any]) -> dict[Any, Any]:
        """Copy a map without its personal data; the original does not change.

        Keys are compared as they are written, so that an `Enum` or a number also names a member.

        Args:
            map_name: `features`, `context` or `metrics`.
            members: The map.
        """
        protected = dict(members)
        if not all(type(name) is str for name in protected):
            protected = {text_of(name) or "": value for name, value in protected.items()}
        for name, action in self.actions(map_name).items():
            if name not in protected:
                continue
            if action == "drop":
                del protected[name]
            else:
                text = text_of(protected[name])
                protected[name] = None if text is None else self._transform(action, text)
        return protected

    def protect_column(self, column: str, values: pa.Array) -> pa.Array | None:
        """Protect an Arrow column; None if it is dropped.

        A column costs one hash per distinct value. Nulls stay null.

        Args:
            column: The column's name, such as `features.NAME`.
            values: The column.
        """
        map_name, _, name = column.partition(".")
        action = self.actions(map_name).get(name)
        if action is None:
            return values
        if action == "drop":
            return None
        import pyarrow as pa  # serving publishes single events, which need no Arrow

        encoded = values.cast(pa.string()).dictionary_encode()
        distinct = [None if text is None else self._transform(action, text) for text in encoded.dictionary.to_pylist()]
        return pa.array(distinct, pa.string()).take(encoded.indices)

    def _transform(self, action: PiiAction, text: str) -> str:
        return hash_text(self._key, text) if action == "hash" else text[:TRUNCATED_CHARS]
