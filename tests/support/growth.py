"""Made-up costs, for computations that need all of them."""

from __future__ import annotations

from benchmarks.growth_measurement import Curve, Growth


def _curve(key: str, factors: tuple[float, ...], fixed: float, slope: float, held_constant: str = "") -> Curve:
    return Curve(
        key, key.split()[0], "cost", "ms", "factor", held_constant, factors, tuple(fixed + slope * x for x in factors)
    )


def made_up(**units: float) -> Growth:
    """Return costs as `measure_growth` does; `units` replaces single costs."""
    fields = (5.0, 20.0, 200.0)
    curves = [
        _curve("sketcher by fields", fields, 0.2, 0.12),
        _curve("sketcher Arrow by fields", fields, 0.2, 0.03),
        _curve("sketcher by events", (50.0, 1_000.0, 20_000.0), 1.2, 0.0025),
        _curve("sketcher by models", (1.0, 10.0, 50.0), 20.0, 1.5),
        _curve("sketcher waiting by sources", (1.0, 16.0, 64.0), 1.0, 0.05),
        _curve("sketcher waiting by partials", (1.0, 16.0, 64.0), 1.0, 0.01),
        _curve("sketcher waiting by flushes", (4.0, 15.0, 30.0), 1.0, 0.05),
        _curve("sketcher partial by fields", fields, 1.0, 1.1),
        _curve("sketcher writing by fields", fields, 0.02, 0.005),
        _curve("monitor by sources", (1.0, 32.0, 512.0), 50.0, 6.0),
        _curve("monitor partials by fields", fields, 0.3, 0.004),
        _curve("monitor judging by fields", fields, 4.0, 0.08),
        _curve("monitor writing by fields", fields, 10.0, 0.01),
        _curve("monitor waiting by partials", (1.0, 16.0, 64.0), 1.0, 0.2),
        _curve("monitor waiting by flushes", (4.0, 15.0, 30.0), 0.6, 0.03),
        _curve("recorder waiting by rate", (100.0, 1_000.0, 4_000.0), 5.0, 0.0008),
        _curve("recorder waiting by models", (1.0, 4.0, 16.0), 5.0, 0.1),
        _curve("ClickHouse engine by fields", fields, 60.0, 0.1),
        _curve("ClickHouse bytes by fields", fields, 1.0, 2.0),
    ]
    known = {
        "fields": 20.0,
        "held_partials": 4.0,
        "held_flush_partials": 16.0,
        "idle_engine_share": 0.5,
        "idle_processes": 20.0,
        "idle_partials": 150.0,
        "engine_recorder_insert_ms": 30.0,
        "held_flushes": 4.0,
        "monitor_progress_models": 20.0,
        "monitor_record_us": 100.0,
        "sketcher_json_us": 4.0,
        "sketcher_arrow_us": 0.8,
        "recorder_json_us": 8.0,
        "recorder_arrow_us": 5.0,
        "recorder_json_shared_us": 3.5,
        "recorder_arrow_shared_us": 1.4,
        "raw_share": 0.1,
        "engine_json_us": 4.0,
        "engine_arrow_us": 4.0,
        "engine_small_insert_ms": 5.0,
        "json_kafka_bytes": 250.0,
        "arrow_kafka_bytes": 150.0,
        "json_row_bytes": 120.0,
        "arrow_row_bytes": 120.0,
        "insert_row_bytes": 200.0,
    }
    return Growth(curves, {**known, **units})
