"""Warnings about a range of production that becomes a baseline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from barograph.contract import Contract, Field, Window

from cli.baseline.warnings import range_warnings
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
    """Two fields of four equal bins; the second has ten times the φ of the first."""
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


def warnings_of(baseline: Baseline, first_h: int = 0, last_h: int = 28 * 24 - 1) -> list[str]:
    hour = timedelta(hours=1)
    return range_warnings(
        baseline, CONTRACT, FROM_S, FROM_S + 28 * DAY_S, START + first_h * hour, START + last_h * hour
    )


KNOWN = {"2h": Phi(1.0, 300, "ok"), "1d": Phi(1.0, 28, "ok")}


def test_a_half_empty_range_is_reported() -> None:
    assert warnings_of(learned(100_000, KNOWN)) == []
    assert warnings_of(learned(100_000, KNOWN), first_h=5, last_h=28 * 24 - 20) == [], "a quiet night at either end"
    assert warnings_of(learned(100_000, KNOWN), first_h=14 * 24) == [
        "Only 2026-03-16 00:00:00Z to 2026-03-30 00:00:00Z of the range has predictions."
    ]


def test_fields_with_too_few_rows_are_reported() -> None:
    # df 3 needs n_h/φ of 262.9, and n_h stays below the baseline's rows.
    assert warnings_of(learned(264, KNOWN)) == [
        "y: too few rows for verdicts. With 264 rows in the baseline, all windows stay insufficient for any number of "
        "predictions; more than 2,629 rows are needed. Use a longer range."
    ]
    assert warnings_of(learned(260, KNOWN))[0].startswith("x, y: too few rows")
    assert warnings_of(learned(2_640, KNOWN)) == []
    shorter = {"2h": Phi(1.0, 300, "ok"), "1d": Phi(50.0, 28, "ok")}
    assert warnings_of(learned(2_640, shorter)) == [], "windows of two hours are sufficient"


def test_an_unknown_phi_is_reported() -> None:
    unknown = {"2h": Phi(1.2, 300, "ok"), "1d": Phi(1.0, 2, "unknown")}
    assert warnings_of(learned(100_000, unknown)) == [
        "φ of 1d windows is set to 1, because the range has fewer than 5 of them: correlated traffic will look like "
        "drift. Use a range of 20 windows."
    ]
    assert warnings_of(learned(100_000, {"2h": Phi(1.2, 300, "ok"), "1d": Phi(1.2, 2, "shorter")})) == []
