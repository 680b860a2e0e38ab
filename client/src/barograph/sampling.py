"""Samples by hash: the same members on every machine, and a larger share contains a smaller one."""

from __future__ import annotations

import hashlib


def sample_hash(*parts: str) -> int:
    """Return a number from 0 to 2^64 - 1 that looks uniform: the first 8 bytes of SHA-256 of the parts.

    Args:
        parts: What is sampled, after the name of the sample, which makes two samples independent of each other.
    """
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big")


def is_in_share(share: float, *parts: str) -> bool:
    """Return whether something is in the sample of a share.

    Args:
        share: From 0 to 1.
        parts: As for `sample_hash`.
    """
    return sample_hash(*parts) < share * 2**64
