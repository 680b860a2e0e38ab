"""Texts of alerts: one form that becomes a template of Grafana, or words.

A model may be called anything, `{{ $labels }}` and `$HOME` included, so text and template never share a string.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, quote_plus

Form = Literal["number", "percent", "duration"]
Ref = Literal["A", "B", "C"]
"""Query of a rule: its number, and the low and the high end of its interval."""


@dataclass(frozen=True, slots=True)
class Label:
    """The value of a label that a rule's query gives."""

    name: str
    in_url: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """What a query of the rule gave for the instance."""

    ref: Ref
    form: Form


Text = tuple[str | Label | Number, ...]
"""Words, labels and numbers, in their order."""

_TEMPLATES: dict[Form, str] = {
    "number": '{{{{ printf "%.3f" $values.{ref}.Value }}}}',
    "percent": "{{{{ humanizePercentage $values.{ref}.Value }}}}",
    "duration": "{{{{ humanizeDuration $values.{ref}.Value }}}}",
}


def template(text: Text) -> str:
    """Write a text as Grafana's templating reads it, in labels and annotations."""
    return "".join(_template(part) for part in text)


def _template(part: str | Label | Number) -> str:
    if isinstance(part, Label):
        return f"{{{{ {'urlquery ' if part.in_url else ''}$labels.{part.name} }}}}"
    if isinstance(part, Number):
        return _TEMPLATES[part.form].format(ref=part.ref)
    # Two braces begin an action; an action that prints two braces is none.
    return part.replace("{{", '{{ "{{" }}')


def words(text: Text, labels: Mapping[str, str], numbers: Mapping[str, float]) -> str:
    """Write a text out for one instance.

    Args:
        text: what to write.
        labels: of the instance.
        numbers: by query: `A`, `B`, `C`.
    """
    written = []
    for part in text:
        if isinstance(part, Label):
            value = labels.get(part.name, "")
            written.append(quote_plus(value) if part.in_url else value)
        elif isinstance(part, Number):
            written.append(FORMS[part.form](numbers.get(part.ref, math.nan)))
        else:
            written.append(part)
    return "".join(written)


def duration(seconds: float) -> str:
    """Write seconds as people do: `3h 20m`, `45s`, `2d 4h`."""
    if not math.isfinite(seconds):
        return "unknown"
    left, written = round(abs(seconds)), []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size:
            written.append(f"{left // size}{unit}")
            left %= size
    return ("-" if seconds < 0 else "") + (" ".join(written[:2]) or "0s")


FORMS: dict[Form, Callable[[float], str]] = {
    "number": lambda value: f"{value:.3f}",
    "percent": lambda value: f"{100 * value:.4g}%",
    "duration": duration,
}


def in_file(text: str) -> str:
    """Escape a text for a provisioning file, where `$NAME` would become a variable of the environment."""
    return text.replace("$", "$$")


def in_url(text: str) -> str:
    """Escape a text for the query of a URL."""
    return quote(text, safe="")


def shortened(text: str, limit_chars: int) -> str:
    """A text of at most so many characters, which differs where texts differ beyond what is shown."""
    if len(text) <= limit_chars:
        return text
    return f"{text[: limit_chars - 9]}…{digest(text)[:8]}"


def digest(*parts: str) -> str:
    """Hash texts to 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(f"{len(part)} {part}" for part in parts).encode()).hexdigest()[:16]
