"""Warnings about a range of production that becomes a baseline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from barograph.contract import Contract, Field, Window

from cli.baseline.warnings import doubts
from sketches.baseline.baseline import ALL, Baseline, FieldBaseline, Phi, SliceCounts

HOUR_S, DAY_S = 3_600, 86_400
START = datetime(2026, 3, 2, tzinfo=UTC)
FROM_S = int(START.timestamp())
CONTRACT = Contract(
    model="m",
    pane_s=HOUR_S,
    windows=(Window(2 * HOUR_S, HOUR_S), Window(DAY_S, HOUR_S)),
    fields=(Field(name="x", type="float", source="features.x"),),
)


def learned(rows: int, phi: dict[str, Phi]) -> Baseline:
    """Two fields of four bins of equal shares, of which the second repeats itself ten times more."""
    more = {name: Phi(10 * one.value, one.windows, one.flag) for name, one in phi.items()}
    fields = tuple(
        FieldBaseline(
            name=name,
            kind="numeric",
            edges=(0.0, 1.0),
            slices={ALL: SliceCounts(cells=(rows // 4,) * 4, phi=own)},
        )
        for name, own in (("x", phi), ("y", more))
    )
    return Baseline(model="m", version="1", rows=rows, slice_rows={ALL: rows}, fields=fields)


def warnings(baseline: Baseline, first_h: int = 0, last_h: int = 28 * 24 - 1) -> list[str]:
    hour = timedelta(hours=1)
    return doubts(baseline, CONTRACT, FROM_S, FROM_S + 28 * DAY_S, START + first_h * hour, START + last_h * hour)


KNOWN = {"2h": Phi(1.0, 300, "ok"), "1d": Phi(1.0, 28, "ok")}


def test_a_full_range_is_beyond_doubt() -> None:
    assert warnings(learned(100_000, KNOWN)) == []
    assert warnings(learned(100_000, KNOWN), first_h=5, last_h=28 * 24 - 20) == [], "a quiet night at either end"


def test_a_half_empty_range_is_reported() -> None:
    assert warnings(learned(100_000, KNOWN), first_h=14 * 24) == [
        "Of the range only 2026-03-16 00:00:00Z to 2026-03-30 00:00:00Z holds predictions."
    ]


def test_fields_without_enough_rows_to_judge_windows_are_reported() -> None:
    # df 3 takes n_h/φ of 262.9, and n_h stays under the baseline's rows.
    assert warnings(learned(264, KNOWN)) == [
        "y: so few rows tell nothing. Against 264 of them every window stays insufficient however many predictions it "
        "holds; it takes over 2,629. Take a longer range."
    ]
    assert warnings(learned(260, KNOWN))[0].startswith("x, y: so few rows")
    assert warnings(learned(2_640, KNOWN)) == []
    shorter = {"2h": Phi(1.0, 300, "ok"), "1d": Phi(50.0, 28, "ok")}
    assert warnings(learned(2_640, shorter)) == [], "windows of two hours can be judged"


def test_an_unknown_phi_is_reported() -> None:
    unknown = {"2h": Phi(1.2, 300, "ok"), "1d": Phi(1.0, 2, "unknown")}
    assert warnings(learned(100_000, unknown)) == [
        "φ of windows of 1d is taken as 1, as the range holds fewer than 5 of them: traffic that repeats itself will "
        "look like drift. Take a range of 20 windows."
    ]
    assert warnings(learned(100_000, {"2h": Phi(1.2, 300, "ok"), "1d": Phi(1.2, 2, "shorter")})) == []
