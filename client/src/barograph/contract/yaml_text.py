"""Writes values as YAML text that YAML 1.1, YAML 1.2 and this project's reader all parse alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

_PLAIN = r"[^\W\d_][\w./+-]*(?: [\w./+-]+)*"
"""Text that needs no quotes: its first character is alphabetic, and no other character has a meaning in YAML."""
_WORDS = r"(?i:null|true|false|yes|no|on|off|y|n)"
"""Words that YAML reads as null or as flags."""
_UNPRINTABLE = "[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
"""Characters that YAML does not allow. The patterns are compiled at their first use, since serving writes no YAML."""


def text_scalar(text: str) -> str:
    """Write text, in double quotes if it could be read as something else."""
    if re.fullmatch(_PLAIN, text) and not re.fullmatch(_WORDS, text) and not re.search(_UNPRINTABLE, text):
        return text
    return escape(msgspec.json.encode(text).decode())


def escape(text: str) -> str:
    """Replace the characters that YAML does not allow with escapes."""
    return re.sub(_UNPRINTABLE, lambda match: f"\\U{ord(match[0]):08x}", text)


def flag_scalar(value: bool) -> str:
    """Write a flag."""
    return "true" if value else "false"


def number_scalar(value: float | None) -> str:
    """Write a number or null."""
    if value is None:
        return "null"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    mantissa, mark, exponent = repr(float(value)).partition("e")
    if not mark:
        return mantissa
    fraction = "" if "." in mantissa else ".0"
    return f"{mantissa}{fraction}e{exponent}"


def flow_list(items: Iterable[str]) -> str:
    """Write a list of written values on one line."""
    return f"[{', '.join(items)}]"


def flow_map(settings: Mapping[str, str]) -> str:
    """Write a map of written values on one line."""
    return f"{{{', '.join(f'{key}: {value}' for key, value in settings.items())}}}"
