"""Alert texts, rendered as a Grafana template or as plain text.

A model name may be any string, including `{{ $labels }}` and `$HOME`, so plain text and templates are kept apart.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, quote_plus

Form = Literal["number", "count", "percent", "duration"]
Ref = Literal["A", "B", "C", "E"]
"""Number of a rule: A decides, B and C are the ends of its interval, E is the number that was observed.

A is capped at the threshold if there is too little data, so messages with an interval show E. D is the condition. In
Grafana A, D and E are queries, and B and C the labels `low` and `high` of E: a query returns one number."""


@dataclass(frozen=True, slots=True)
class LabelRef:
    """Reference to a label of the rule's query, or of the observed value."""

    name: str
    in_url: bool = False
    is_detail: bool = False
    """Whether it is one of `warehouse.signals.DETAILS`: a label of E alone, which does not identify the instance."""


@dataclass(frozen=True, slots=True)
class NumberRef:
    """Reference to the result of a query for the instance."""

    ref: Ref
    form: Form


Text = tuple[str | LabelRef | NumberRef, ...]
"""Sequence of plain text, label references and number references."""

_FUNCTIONS: dict[Form, str] = {
    "number": 'printf "%.2f" ',
    "count": 'printf "%.0f" ',
    "percent": "humanizePercentage ",
    "duration": "humanizeDuration ",
}
"""Grafana's functions; those for percent and duration also take numbers as text, as in labels."""
_BOUNDS: dict[Ref, str] = {"B": "low", "C": "high"}


def template(text: Text) -> str:
    """Render a text as a Grafana template for labels and annotations."""
    return "".join(_template(part) for part in text)


def _template(part: str | LabelRef | NumberRef) -> str:
    if isinstance(part, LabelRef):
        labels = "$values.E.Labels" if part.is_detail else "$labels"
        return f"{{{{ {'urlquery ' if part.in_url else ''}{labels}.{part.name} }}}}"
    if isinstance(part, NumberRef):
        if bound := _BOUNDS.get(part.ref):
            function = "" if part.form in ("number", "count") else _FUNCTIONS[part.form]
            return f"{{{{ {function}$values.E.Labels.{bound} }}}}"
        return f"{{{{ {_FUNCTIONS[part.form]}$values.{part.ref}.Value }}}}"
    # Two braces start an action, so literal braces are printed by an action.
    return part.replace("{{", '{{ "{{" }}')


def words(text: Text, labels: Mapping[str, str], numbers: Mapping[str, float]) -> str:
    """Render a text for one instance.

    Args:
        labels: labels of the instance, and details of its observed value.
        numbers: query results by `Ref`.
    """
    written = []
    for part in text:
        if isinstance(part, LabelRef):
            value = labels.get(part.name, "")
            written.append(quote_plus(value) if part.in_url else value)
        elif isinstance(part, NumberRef):
            written.append(FORMS[part.form](numbers.get(part.ref, math.nan)))
        else:
            written.append(part)
    return "".join(written)


def duration(seconds: float) -> str:
    """Format seconds: `3h 20m`, `45s`, `2d 4h`."""
    if not math.isfinite(seconds):
        return "unknown"
    left, written = round(abs(seconds)), []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size:
            written.append(f"{left // size}{unit}")
            left %= size
    return ("-" if seconds < 0 else "") + (" ".join(written[:2]) or "0s")


def percent(share: float) -> str:
    """Format a share with three digits: `12.3%`."""
    return f"{float(f'{100 * share:.3g}'):g}%"


FORMS: dict[Form, Callable[[float], str]] = {
    "number": lambda value: f"{value:.2f}",
    "count": lambda value: f"{value:.0f}",
    "percent": percent,
    "duration": duration,
}


def in_file(text: str) -> str:
    """Escape a text for a provisioning file, where `$NAME` would be resolved from the environment."""
    return text.replace("$", "$$")


def in_url(text: str) -> str:
    return quote(text, safe="")


def shortened(text: str, limit_chars: int) -> str:
    """Shorten a text to a number of characters; a hash keeps different texts different."""
    if len(text) <= limit_chars:
        return text
    return f"{text[: limit_chars - 9]}…{digest(text)[:8]}"


def digest(*parts: str) -> str:
    """Hash texts to 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(f"{len(part)} {part}" for part in parts).encode()).hexdigest()[:16]
