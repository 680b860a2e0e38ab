"""`barograph detectability` on real ClickHouse."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from barograph.contract import Contract, Field, Slice, Window

from barograph_server.alerts.prediction.model_detectability import HORIZONS
from barograph_server.sketches.baseline.baseline import ALL, Baseline, SliceCounts, SliceValues
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows
from tests.support import scoring
from tests.support.command_line import OutputOf
from tests.support.pipeline import baseline_row
from tests.support.warehouse import add_row, row
from tests.unit.sketches.test_detection import category_field, normal_field

HOUR_S, DAY_S = 3_600, 86_400
WEEK = list(HORIZONS).index("7d")
END_S = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
SLICES = (ALL, "site=a", "site=other")


def make_model() -> tuple[Contract, Baseline]:
    cells = dict.fromkeys(SLICES, SliceCounts(cells=(*[100_000] * 10, 0)))
    fields = [msgspec.structs.replace(normal_field(), name=name, slices=cells) for name in ("x", "quiet")]
    counts = SliceCounts(cells=(600_000, 300_000, 50_000, 30_000, 20_000))
    fields.append(msgspec.structs.replace(category_field(), slices=dict.fromkeys(SLICES, counts)))
    contract = Contract(
        model="m",
        fields=(
            Field(name="x", type="float", source="features.x", critical=True),
            Field(name="quiet", type="float", source="features.quiet", critical=True),
            Field(name="c", type="category", source="features.c"),
        ),
        slices=(Slice(name="site", source="context.site", values=("a",)),),
        windows=(Window(HOUR_S, 300), Window(DAY_S, HOUR_S)),
    )
    baseline = Baseline(
        model="m",
        version="1",
        rows=10**6,
        slice_rows=dict.fromkeys(SLICES, 10**6),
        dimensions=(SliceValues(name="site", source="context.site", values=("a",), trained=True),),
        fields=tuple(fields),
    )
    return contract, baseline


def write_model(client: Client) -> None:
    """Write a contract, a baseline and a week of verdicts: `x` with φ 213 in a day, `quiet` with φ 1."""
    contract, baseline = make_model()
    scoring.register(client, contract)
    insert_rows(client, "baselines", [baseline_row(baseline, 0, 1)])
    times = dict.fromkeys(("watermark", "sealed_until", "updated_at"), END_S * 1000)
    add_row(client, "progress", model="m", record_seq=1, **times)
    rows: list[dict[str, Any]] = []
    common = {"model": "m", "baseline_id": baseline.id, "judged_at": END_S * 1000, "record_seq": 1, "level": "stable"}
    for hour in range(9 * 24):
        end_s = END_S - hour * HOUR_S
        for field, phi in (("x", 213.0), ("quiet", 1.0), ("c", 1.0)):
            for name, length_s, n in (("1h", HOUR_S, 2_500), ("1d", DAY_S, 60_000)):
                for slice_name, share in ((ALL, 1.0), ("site=a", 0.01)):
                    # Older traffic and windows at the start of the history would mislead.
                    n_then = n * 50 if hour > 7 * 24 else 1 if hour == 6 * 24 else n
                    window = {"window": name, "window_start": end_s - length_s, "window_end": end_s}
                    reason = "partly recorded" if hour == 6 * 24 else ""
                    values = {"n": int(n_then * share), "phi": phi if name == "1d" else 1.0, "reason": reason}
                    rows.append(row("drift", **common, version="1", slice=slice_name, field=field, **window, **values))
    old = rows[0] | {"version": "0", "window_end": END_S - 6 * DAY_S, "n": 10**6}
    insert_rows(client, "drift", [*rows, old])


def test_what_a_week_of_traffic_reveals(client: Client, config: str, output_of: OutputOf) -> None:
    write_model(client)
    command = ("detectability", "--model", "m", "--config", config)
    result = json.loads(output_of(0, *command, "--format", "json"))
    assert result["version"] == "1"
    rules = {(each["field"], each["change"]): each for each in result["rules"]}
    assert set(rules) == {(field, change) for field in ("x", "quiet") for change in ("shift", "nulls")}
    x, quiet = rules["x", "shift"], rules["quiet", "shift"]
    assert (x["traffic"]["events"], x["traffic"]["phi"], x["rule"]) == (60_000, 213.0, "psi-major")
    assert x["smallest"][WEEK] > quiet["smallest"][WEEK]
    # With n/φ = 282 in the day window, statistics.md has 0.5; the week is long enough to fill it.
    assert 0.48 < x["smallest"][WEEK] < 0.54
    assert 0.46 < quiet["smallest"][WEEK] < 0.49
    windows = {(e["field"], e["slice_name"], e["window"], e["change"]): e["smallest"] for e in result["windows"]}
    assert windows["quiet", "site=a", "1d", "shift"][WEEK] > windows["quiet", ALL, "1d", "shift"][WEEK]
    # 600 events with φ 213 count as three.
    assert windows["x", "site=a", "1d", "shift"] == [None, None, None]
    lines = output_of(0, *command).splitlines()
    assert lines[0] == "m: version 1, traffic of the last week"
    # Blind spots come first.
    assert lines[1].startswith("x: a shift of less than ")
    reason = "φ is 213, so 60,000 events in 1d count as 282 independent ones"
    assert lines[1].endswith(f"sd) is invisible in a day: {reason}")
    assert any(line.split()[:2] == ["quiet", "all"] for line in lines)
    result = json.loads(output_of(0, *command, "--field", "c", "--format", "json"))
    assert {each["change"] for each in result["rules"]} == {"moved", "nulls"}
