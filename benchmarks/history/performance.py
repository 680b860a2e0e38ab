"""Raw events, labels and performance."""

from __future__ import annotations

from benchmarks.history.series import CUT, DAY_S, HOUR_S, ONCE, SERIES, WHOLE, TableFill, hours, uniform

BASIS = "basis"
"""The basis of all performance rows."""

_METRICS = (
    f"(SELECT *, arrayJoin(['accuracy', 'auc', 'brier', 'ece', 'f1', 'log_loss', 'precision', 'recall']) AS metric "
    f"FROM {SERIES} WHERE field = 'score' ORDER BY model, version, slice, metric)"
)
_SCORED = (
    f"(SELECT *, cityHash64(seed, metric, length_s, end) AS h, hourly * length_s / {HOUR_S} AS expected, "
    f"0.8 - 0.01 * {uniform(0)} AS figure, arrayJoin(range(1, 4)) AS revision FROM (SELECT *, "
    f"arrayJoin([('1d', {DAY_S}), ('1h', {HOUR_S}), ('6h', {6 * HOUR_S})]) AS w, w.2 AS length_s, "
    f"arrayJoin(range({{first_s:UInt32}} + length_s, {{end_s:UInt32}} + 1, length_s)) AS end FROM {_METRICS}) "
    "WHERE end > since_s)"
)
_STATE = (
    f"(SELECT *, range(20) AS kept, arrayMap(i -> toUInt64(1 + expected / 20 * (0.7 + bitAnd(bitShiftRight(h, "
    "2 * i), 3) / 5)), kept) AS per_bin, arrayMap(n -> intDiv(n * 9, 10), per_bin) AS labelled_per_bin "
    f"FROM {hours(where=CUT)})"
)
_RAW = (
    f"(SELECT *, arrayJoin(range(toUInt32(expected * raw))) AS i, cityHash64(seed, start, i) AS h, "
    f"start + 8 * i AS second, start * 500 + i AS nth, concat('event-', toString(nth)) AS id FROM "
    f"{hours(where=WHOLE)})"
)
_FEATURES = (
    "CAST(arrayMap(name -> (name, CAST(bitAnd(cityHash64(h, name), 4095) / 16, 'Nullable(Float64)')), numbers), "
    "'Map(LowCardinality(String), Nullable(Float64))')"
)
_LABEL_AT = "fromUnixTimestamp64Milli(1000 * toInt64(second + 3600 + h % 14400), 'UTC')"


TABLE_FILLS: tuple[TableFill, ...] = (
    TableFill(
        "performance",
        {
            "model": "model",
            "version": "version",
            "slice": "slice",
            "metric": "metric",
            "class": "''",
            "window": "w.1",
            "window_start": "toDateTime(end - length_s, 'UTC')",
            "window_end": "toDateTime(end, 'UTC')",
            "value": "figure - 0.001 * (3 - revision)",
            "low": "figure - 2 / sqrt(expected)",
            "high": "figure + 2 / sqrt(expected)",
            "sufficient": "expected >= 100",
            "n": "toUInt64(expected * revision / 3)",
            "predictions": "toUInt64(expected)",
            "coverage": "0.9 * revision / 3",
            "maturity": "revision / 3",
            "mature": "revision = 3",
            "level": "if(expected < 100, 'insufficient', 'stable')",
            "reason": "if(expected < 100, 'too few labels', '')",
            "promise": "if(metric = 'auc', 0.7, nan)",
            "reference": "0.8",
            "difference": "figure - 0.8",
            "difference_low": "figure - 0.8 - 2 / sqrt(expected)",
            "difference_high": "figure - 0.8 + 2 / sqrt(expected)",
            "selective": "false",
            "selective_p": uniform(16),
            **dict.fromkeys(("corrected", "corrected_low", "corrected_high"), "nan"),
            "cbpe": "figure + 0.002",
            "cbpe_low": "figure - 0.01",
            "cbpe_high": "figure + 0.014",
            "cbpe_error": "if(revision = 3, 0.002, nan)",
            "cbpe_reason": "''",
            "raw_share": "1.",
            "revised_at": f"fromUnixTimestamp64Milli(1000 * toInt64(end + {HOUR_S} * revision), 'UTC')",
            "revision": "revision",
        },
        _SCORED,
    ),
    TableFill(
        "performance_state",
        {
            "model": "model",
            "version": "version",
            "basis": f"'{BASIS}'",
            "slice": "slice",
            "window_start": "toDateTime(start, 'UTC')",
            "window_s": str(HOUR_S),
            "predictions": "arraySum(per_bin)",
            **dict.fromkeys(
                ("failed", "duplicates", "unscored", "out_of_range", "undeclared_class", "invalid_sum"), "0"
            ),
            "labelled": "arraySum(labelled_per_bin)",
            **dict.fromkeys(("early", "corrections", "late", "wrong_type", "undeclared_label"), "0"),
            "confusion": "[toUInt64(expected * 0.2), toUInt64(5), toUInt64(5), toUInt64(expected * 0.6)]",
            "bins": "kept",
            "bin_predictions": "per_bin",
            "bin_scores": "arrayMap((i, n) -> n * (i + 0.5) / 20, kept, per_bin)",
            "bin_labelled": "labelled_per_bin",
            "bin_labelled_scores": "arrayMap((i, n) -> n * (i + 0.5) / 20, kept, labelled_per_bin)",
            "bin_positives": "arrayMap((i, n) -> toUInt64(n * (i + 0.5) / 20), kept, labelled_per_bin)",
            "sums": "[expected, expected * 0.4, expected * 0.2, expected * 0.1, expected * 0.05]",
            "ages": "CAST(map(), 'Map(UInt16, UInt64)')",
            "records": "toUInt64(expected)",
            "scored_at": f"fromUnixTimestamp64Milli(1000 * toInt64(start + 8 * {HOUR_S}), 'UTC')",
        },
        _STATE,
    ),
    TableFill(
        "maturity",
        {
            "model": "model",
            "basis": f"'{BASIS}'",
            "ages_s": "arrayMap(i -> 600. * i, range(1, 49))",
            "shares": "arrayMap(i -> least(1., i / 40), range(1, 49))",
            "shares_low": "arrayMap(i -> least(1., i / 41), range(1, 49))",
            "shares_high": "arrayMap(i -> least(1., i / 39), range(1, 49))",
            "coverage": "0.9",
            "mature_age_s": "22800.",
            "predictions": "toUInt64(10000)",
            "labels": "toUInt64(9000)",
            "learned_at": "fromUnixTimestamp64Milli(1000 * toInt64(start), 'UTC')",
        },
        hours(where=ONCE),
    ),
    TableFill(
        "pending_labels",
        {
            "model": "model",
            "hash": "h",
            "id": "concat('unknown-', toString(h))",
            "at": "fromUnixTimestamp64Milli(1000 * toInt64(start), 'UTC')",
            "epoch": "0",
            "partition": "0",
            "offset": "start",
            "message_index": "0",
            "label": "'true'",
            "label_type": "'bool'",
            "received_at": "fromUnixTimestamp64Milli(1000 * toInt64(start), 'UTC')",
            "matched": "h % 2",
        },
        hours(where=ONCE),
    ),
    TableFill(
        "predictions",
        {
            "partition": "0",
            "offset": "nth",
            "message_index": "seed % 1000",
            "epoch": "0",
            "model": "model",
            "version": "version",
            "id": "id",
            "at": "fromUnixTimestamp64Milli(1000 * toInt64(second), 'UTC')",
            "received_at": "fromUnixTimestamp64Milli(1000 * toInt64(second) + 200, 'UTC')",
            "arm": "if(h % 2 = 0, 'a', 'b')",
            "context": "map('user', toString(h % 4000))",
            "numbers": _FEATURES,
            "strings": "map('country', ['DE', 'FR', 'US'][h % 3 + 1], 'device', ['phone', 'desktop'][h % 2 + 1])",
            "nulls": "[]",
            "score": uniform(0),
            "class": "''",
            "scores": "map()",
            "metrics": "map()",
            "latency_ms": f"4 + 20 * {uniform(16)}",
            "status": "'ok'",
            "error": "if(h % 100 = 0, 'Timeout', '')",
            "producer": "'serving-1'",
            "seq": "nth",
            "unknown": "0",
        },
        _RAW,
    ),
    TableFill(
        "labels",
        {
            "partition": "0",
            "offset": "nth",
            "message_index": "seed % 1000",
            "epoch": "0",
            "model": "model",
            "id": "id",
            "label": "if(h % 3 = 0, 'true', 'false')",
            "label_type": "'bool'",
            "at": _LABEL_AT,
            "received_at": _LABEL_AT,
        },
        f"(SELECT * FROM {_RAW} WHERE h % 10 > 0 AND version = '1')",
    ),
)
