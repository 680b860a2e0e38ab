"""Durations in the notation of Grafana and Go, and the step that Grafana chooses for a panel."""

from __future__ import annotations

import re
from bisect import bisect_right

_UNITS_MS = (("y", 31_536_000_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_GO_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_GO_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|ns|h|m|s)")


def format_interval(interval_ms: int) -> str:
    """Format milliseconds in the largest unit that fits, rounded down: 300,000 → `5m`, 90,000 → `1m`."""
    for unit, size in _UNITS_MS:
        if interval_ms >= size:
            return f"{interval_ms // size}{unit}"
    return "1ms"


def go_duration_s(text: str) -> int | None:
    """Parse a Go duration (`5m`, `1h30m`; Go has no unit for days) into whole seconds.

    Returns:
        None if the text is not a duration, or is shorter than half a second.
    """
    parts = _GO_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    # Halves round up, not to even.
    seconds = int(sum(float(number) * _GO_UNITS_S[unit] for number, unit in parts) + 0.5)
    return seconds if seconds > 0 else None


# Steps in milliseconds. The second number is the smallest raw step that rounds up to the next entry.
_STEPS = (
    (1, 10), (10, 15), (20, 35), (50, 75), (100, 150), (200, 350), (500, 750),
    (1_000, 1_500), (2_000, 3_500), (5_000, 7_500), (10_000, 12_500), (15_000, 17_500), (20_000, 25_000),
    (30_000, 45_000), (60_000, 90_000), (120_000, 210_000), (300_000, 450_000), (600_000, 750_000),
    (900_000, 1_050_000), (1_200_000, 1_500_000), (1_800_000, 2_700_000), (3_600_000, 5_400_000),
    (7_200_000, 9_000_000), (10_800_000, 16_200_000), (21_600_000, 32_400_000), (43_200_000, 86_400_000),
    (86_400_000, 604_800_000), (604_800_000, 1_814_400_000), (2_592_000_000, 3_628_800_000),
)  # fmt: skip


def interval_ms(range_ms: int, max_data_points: int, least_ms: int) -> int:
    """Return the step that Grafana chooses: range divided by points, rounded, at least the panel's minimum.

    Args:
        range_ms: the length of the dashboard's range.
        max_data_points: points that the panel can show; by default its width in pixels.
        least_ms: the panel's minimum interval.

    Source: grafana/grafana, `packages/grafana-data/src/datetime/rangeutil.ts`, `roundInterval`.
    """
    raw = range_ms / max_data_points
    at = bisect_right(_STEPS, raw, key=lambda step: step[1])
    step = _STEPS[at][0] if at < len(_STEPS) else 31_536_000_000
    return max(step, least_ms)
