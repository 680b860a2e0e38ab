"""Protection of personal data: values are hashed, truncated or dropped before an event leaves the process.

The contract says which. A keyed hash preserves equality within one field of one model, and nothing else: hashed values
can be counted and compared with a baseline that was hashed with the same key, but not linked across fields or models.
Without the key, nobody can recover them by hashing guesses.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from barograph.contract import Contract
from barograph.values import text_of

if TYPE_CHECKING:
    import pyarrow as pa

KEY_VARIABLE = "BAROGRAPH_PII_KEY"
PREVIOUS_KEY_VARIABLE = "BAROGRAPH_PII_PREVIOUS_KEY"
"""The environment variable of the key before the last rotation, which `barograph skew` also recognizes."""
MIN_KEY_BYTES = 16
KEY_ID_CHARS = 6
"""Hexadecimal digits of a key's id, which precede each hash: enough to distinguish the few keys of an installation."""
DIGEST_CHARS = 32
"""Hexadecimal digits of a hash: 128 bits, so that among 10⁹ values the probability of a collision is 10⁻²¹."""
HASH_PATTERN = rf"[0-9a-f]{{{KEY_ID_CHARS}}}:[0-9a-f]{{{DIGEST_CHARS}}}"
"""Regular expression of a hashed value: key id, colon, digest."""
MAX_TRUNCATED_CHARS = 3
"""Most characters that `truncate` preserves: a region of a postal code, a country of a phone number."""
TRUNCATED_TO_NOTHING = "_"
"""What `truncate` publishes for a value of fewer than two characters."""

PiiAction = Callable[[str], str] | None
"""Hashes or truncates a value; None drops it."""


class PiiKeyError(ValueError):
    """A contract requires hashes, and there is no usable key."""


class FieldHash:
    """Hashes the values of one field of one model: `KEYID:DIGEST`, 39 characters.

    The digest is HMAC-SHA-256 of the value under a key of the field's own. That key is the HMAC-SHA-256 of the model's
    name and the field's source under the secret. So equal values of two fields or models have unrelated hashes.
    """

    def __init__(self, key: bytes, model: str, source: str) -> None:
        """Derive the key of a field's source, such as `features.email`."""
        self._prefix = f"{key_id(key)}:"
        self._key = hmac.digest(key, _encode("field", model, source), "sha256")

    def __call__(self, text: str) -> str:
        return self._prefix + hmac.digest(self._key, text.encode("utf-8", "replace"), "sha256").hex()[:DIGEST_CHARS]


def key_id(key: bytes) -> str:
    """Return the id of a key: 6 hexadecimal digits that are derived from it and do not reveal it."""
    return hmac.digest(key, _encode("key id"), "sha256").hex()[:KEY_ID_CHARS]


def _encode(*parts: str) -> bytes:
    """Encode texts so that different lists of texts never have the same encoding: each is preceded by its length."""
    encoded = [part.encode("utf-8", "replace") for part in ("barograph pii", *parts)]
    return b"".join(len(part).to_bytes(8, "big") + part for part in encoded)


def truncate_text(text: str) -> str:
    """Return the first half of a text, at most its first three characters; `_` if that is nothing."""
    return text[: min(MAX_TRUNCATED_CHARS, len(text) // 2)] or TRUNCATED_TO_NOTHING


def read_key(contract: Contract, key: str | bytes | None = None, variable: str = KEY_VARIABLE) -> bytes:
    """Return the key for a contract's hashes; empty if the contract hashes nothing.

    Args:
        key: The key; by default that of the environment variable.
        variable: The environment variable; by default BAROGRAPH_PII_KEY.

    Raises:
        PiiKeyError: A field is hashed, and the key is missing or shorter than 16 bytes.
    """
    hashed = [field.name for field in contract.fields if field.pii == "hash"]
    return _read_secret(contract.model, hashed, key, variable) if hashed else b""


def read_text_key(contract: Contract, key: str | bytes | None = None) -> bytes:
    """Return the key for hashes of text; empty if the contract's section `text` does not hash.

    Args:
        key: The key; by default that of the environment variable BAROGRAPH_PII_KEY.

    Raises:
        PiiKeyError: The key is missing or shorter than 16 bytes.
    """
    if contract.text is None or contract.text.content != "hash":
        return b""
    return _read_secret(contract.model, ["text"], key, KEY_VARIABLE)


def _read_secret(model: str, hashed: list[str], key: str | bytes | None, variable: str) -> bytes:
    value = os.environ.get(variable, "") if key is None else key
    secret = value.encode() if isinstance(value, str) else value
    if len(secret) < MIN_KEY_BYTES:
        state = f"has {len(secret)} bytes" if secret else "is missing"
        raise PiiKeyError(
            f"the contract of {model} hashes {', '.join(hashed)}, and the key {state}; set "
            f"{variable} to a secret of at least {MIN_KEY_BYTES} bytes, the same wherever the model is "
            "trained and served"
        )
    return secret


class Pii:
    """The protected members of one contract and the action on each."""

    def __init__(self, contract: Contract, key: bytes) -> None:
        """Index the contract's protected members."""
        self._actions: dict[str, dict[str, PiiAction]] = {}
        for field in contract.fields:
            map_name, _, name = field.source.partition(".")
            if field.pii == "keep" or not name:
                continue
            action: PiiAction = None
            if field.pii == "hash":
                action = FieldHash(key, contract.model, field.source)
            elif field.pii == "truncate":
                action = truncate_text
            self._actions.setdefault(map_name, {})[name] = action

    def actions(self, map_name: str) -> Mapping[str, PiiAction]:
        """Return the actions on members of `features`, `context` or `metrics`, by name; usually none."""
        return self._actions.get(map_name, {})

    def protect(self, map_name: str, members: Mapping[Any, Any]) -> dict[Any, Any]:
        """Copy a map without its personal data; the original does not change.

        Keys are compared as they are written, so that an `Enum` or a number also names a member.

        Args:
            map_name: `features`, `context` or `metrics`.
        """
        protected = dict(members)
        if not all(type(name) is str for name in protected):
            protected = {text_of(name) or "": value for name, value in protected.items()}
        for name, action in self.actions(map_name).items():
            if name not in protected:
                continue
            if action is None:
                del protected[name]
            else:
                text = text_of(protected[name])
                protected[name] = None if text is None else action(text)
        return protected

    def protect_column(self, column: str, values: pa.Array) -> pa.Array | None:
        """Protect an Arrow column; None if it is dropped.

        A column costs one hash per distinct value. Nulls stay null.

        Args:
            column: The column's name, such as `features.NAME`.
        """
        map_name, _, name = column.partition(".")
        actions = self.actions(map_name)
        if name not in actions:
            return values
        action = actions[name]
        if action is None:
            return None
        import pyarrow as pa  # serving publishes single events, which need no Arrow

        encoded = values.cast(pa.string()).dictionary_encode()
        distinct = [None if text is None else action(text) for text in encoded.dictionary.to_pylist()]
        return pa.array(distinct, pa.string()).take(encoded.indices)
