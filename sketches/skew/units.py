"""Names of factors and offsets between units of measurement."""

import math
import re

EXACT = 1e-5
"""Relative difference up to which a factor counts as the unit's exact factor."""
ABOUT = 2e-3
"""Relative difference up to which a factor counts as a rounded one: 1.609 or 3.28."""

FACTORS: tuple[tuple[float, str, str], ...] = (
    (1.609344, "miles", "kilometres"),
    (1609.344, "miles", "metres"),
    (0.3048, "feet", "metres"),
    (0.9144, "yards", "metres"),
    (2.54, "inches", "centimetres"),
    (25.4, "inches", "millimetres"),
    (0.0254, "inches", "metres"),
    (1.852, "nautical miles", "kilometres"),
    (0.44704, "miles per hour", "metres per second"),
    (1.852 / 3.6, "knots", "metres per second"),
    (1.852 / 1.609344, "knots", "miles per hour"),
    (3.6, "metres per second", "kilometres per hour"),
    (0.45359237, "pounds", "kilograms"),
    (28.349523125, "ounces", "grams"),
    (3.785411784, "gallons", "litres"),
    (33.863886666667, "inches of mercury", "hectopascals"),
    (4.184, "calories", "joules"),
    (math.pi / 180.0, "degrees", "radians"),
    (1.8, "degrees Celsius", "degrees Fahrenheit"),
    (60.0, "hours", "minutes"),
    (3600.0, "hours", "seconds"),
    (24.0, "days", "hours"),
    (1440.0, "days", "minutes"),
    (86400.0, "days", "seconds"),
    (7.0, "weeks", "days"),
    (100.0, "shares", "percent"),
    (1000.0, "units", "thousandths"),
    (1e6, "units", "millionths"),
    (1e9, "units", "billionths"),
    (1024.0, "kibibytes", "bytes"),
)
"""Factor, source unit, target unit: a value in the first unit times the factor is in the second. If several units share
a factor, the usual pair represents all."""

_ALSO = {
    60.0: "hours → minutes or minutes → seconds",
    100.0: "shares → percent, or metres → centimetres",
    1000.0: "thousandths: kilo–, milli–",
    1e6: "millionths: mega–, micro–",
    1e9: "billionths: giga–, nano–",
}
_QUANTITIES: tuple[tuple[frozenset[str], frozenset[str]], ...] = tuple(
    (frozenset(units.split("|")), frozenset(words.split()))
    for units, words in (
        ("hours|days|weeks", "age delay delays duration elapsed hours latency lag minutes seconds time wait"),
        ("miles|feet|yards|inches|nautical miles", "altitude depth distance height length width"),
        ("miles|feet|nautical miles|miles per hour|knots|metres per second", "speed velocity"),
        ("pounds|ounces", "mass weight"),
        ("gallons", "volume"),
        ("inches of mercury", "pressure"),
        ("calories", "calories energy"),
        ("degrees", "angle bearing heading latitude longitude"),
        ("degrees Celsius", "temp temperature"),
    )
)
"""Units of `FACTORS` by quantity, and words in names of fields that mean the quantity."""
OFFSETS = {273.15: "degrees Celsius → kelvin", 459.67: "degrees Fahrenheit → degrees Rankine"}
"""Offset and name of conversions without a factor."""
_CLOCKS = {24.0: ("h", 1.0), 1440.0: ("min", 60.0), 86400.0: ("s", 3600.0)}


def _near(value: float, known: float) -> str | None:
    """Return `` for an equal value, `about ` for a nearly equal one, None otherwise."""
    apart = abs(value - known) / abs(known)
    if apart <= EXACT:
        return ""
    return "about " if apart <= ABOUT else None


def name_factor(factor: float) -> str:
    """Return `× 1.60934 (miles → kilometres)`; a factor below 1 whose inverse is known is written as a division."""
    if abs(factor + 1.0) <= EXACT:
        return "× −1 (the sign)"
    for known, source, target in FACTORS:
        near = _near(factor, known)
        if near is not None:
            return f"× {factor if near else known:.7g} ({near}{_ALSO.get(known, f'{source} → {target}')})"
    for known, source, target in FACTORS:
        near = _near(1.0 / factor, known)
        if near is not None:
            units = f"{target} → {source}" if known not in _ALSO else _ALSO[known] + ", the other way"
            shown = 1.0 / factor if near else known
            return f"{f'÷ {shown:.7g}' if known > 1.0 else f'× {1.0 / shown:.7g}'} ({near}{units})"
    return f"× {factor:.7g}"


def name_offset(offset: float) -> str:
    """Return `+ 273.15 (degrees Celsius → kelvin)`."""
    sign = "+" if offset >= 0.0 else "−"
    size = abs(offset)
    known = next((name for value, name in OFFSETS.items() if abs(size - value) <= EXACT * value), "")
    if known and offset < 0.0:
        known = " → ".join(reversed(known.split(" → ")))
    return f"{sign} {size:.7g}{f' ({known})' if known else ''}"


def fits_name(unit: str, field: str) -> bool:
    """Whether a field of this name can have the unit: unless its words mean other quantities only."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", field)}
    named = [units for units, meant in _QUANTITIES if words & meant]
    known = any(unit in units for units, _ in _QUANTITIES)
    return not (named and known) or any(unit in units for units in named)


_SPANS = (("d", 86_400_000.0), ("h", 3_600_000.0), ("min", 60_000.0), ("s", 1_000.0))


def name_span(offset_ms: float) -> str:
    """Return an offset between times: `+ 5 h`, `− 90 s`, `+ 250 ms`."""
    text = f"{'+' if offset_ms >= 0.0 else '−'} {name_length(abs(offset_ms))}"
    return f"{text} (another time zone?)" if text.endswith(" h") and abs(offset_ms) <= 14 * 3_600_000.0 else text


def name_length(ms: float) -> str:
    """Return a length of time in the largest unit that fits, to four digits: `7 d`, `1.5 h`, `250 ms`."""
    for unit, size in _SPANS:
        if ms >= size:
            return f"{ms / size:.4g} {unit}"
    return f"{ms:.4g} ms"


def name_wrap(offset: float, period: float) -> str:
    """Return `+ 300, wrapping at 1440 (5 h: another time zone?)`; the offset is the shorter way round."""
    offset = (offset + period / 2.0) % period - period / 2.0
    text = f"{name_offset(offset)}, wrapping at {period:g}"
    unit, per_hour = _CLOCKS.get(period, ("", 0.0))
    if unit and abs(offset / per_hour - round(offset * 4.0 / per_hour) / 4.0) < 1e-9:
        return f"{text} ({offset / per_hour:+g} h: another time zone?)"
    return text


LINEAR: tuple[tuple[float, float, str], ...] = (
    (1.8, 32.0, "degrees Celsius → degrees Fahrenheit"),
    (1.0 / 1.8, -32.0 / 1.8, "degrees Fahrenheit → degrees Celsius"),
    (1.0 / 1.8, 459.67 / 1.8, "degrees Fahrenheit → kelvin"),
    (1.8, -459.67, "kelvin → degrees Fahrenheit"),
)
"""Factor, offset and name of conversions that have both."""


def name_linear(slope: float, intercept: float) -> str:
    """Return `1.8 · recomputed + 32 (degrees Celsius → degrees Fahrenheit)`."""
    text = f"{slope:.7g} · recomputed {name_offset(intercept)}"
    for a, b, name in LINEAR:
        near = _near(slope, a)
        if near is not None and abs(intercept - b) <= ABOUT * abs(b):
            slope, intercept = (slope, intercept) if near else (a, b)
            return f"{slope:.7g} · recomputed {'+' if intercept >= 0 else '−'} {abs(intercept):.7g} ({near}{name})"
    return text
