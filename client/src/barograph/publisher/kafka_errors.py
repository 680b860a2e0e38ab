"""Texts of Kafka's errors that are safe to show."""

from __future__ import annotations

import re

_OAUTHBEARER_CONFIG = re.compile(r"\b(sasl\.oauthbearer\.config)\b.*", re.DOTALL)


def hide_config(text: str) -> str:
    """Cut an error text after `sasl.oauthbearer.config`: librdkafka quotes the value, which may hold a secret."""
    return _OAUTHBEARER_CONFIG.sub(r"\1", text)
