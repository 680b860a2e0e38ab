"""Verdicts on windows: drift, rates, distances, comparisons, ratios of arms."""

from __future__ import annotations

from benchmarks.history.series import (
    JUDGED,
    KEY,
    NUMBERS,
    OF_WINDOW,
    ONCE,
    QUARTERS,
    SERIES,
    TableFill,
    Z,
    hours,
    uniform,
    windows,
)

MINOR, MAJOR = 0.1, 0.2

_PSI = (
    f"(SELECT *, if(changed, 0.35, 0.01) * (0.6 + 0.8 * {uniform(0)}) AS psi, 0.3 * psi + 0.005 AS half_width "
    f"FROM {windows()})"
)
_LEVEL = f"multiIf(psi > {MAJOR}, 'major', psi > {MINOR}, 'minor', 'stable')"
_SHIFT = (
    f"(SELECT *, if(changed, 0.3, 0) + 0.02 * ({Z}) AS shift, 0.2 * abs(shift) + 0.01 AS far "
    f"FROM {windows(step=QUARTERS, where=NUMBERS)})"
)
_KINDS = (
    f"(SELECT *, arrayJoin(if(field = 'events', ['error'], if(kind = 'numeric', ['above', 'below', 'invalid', 'null'], "
    f"['invalid', 'null', 'unseen']))) AS of FROM (SELECT * FROM {SERIES} UNION ALL "
    f"SELECT * REPLACE ('events' AS field, 'category' AS kind, false AS changes) FROM {SERIES} WHERE field = 'score')"
    " ORDER BY model, version, baseline_id, slice, field, of)"
)
_RATES = (
    "(SELECT *, toUInt64(expected) AS events, "
    f"toUInt64(events * if(changed AND of = 'null', 0.08, 0.002) * {uniform(8)}) AS bad, bad / events AS share "
    f"FROM {windows(_KINDS)})"
)
_SIDES = (
    f"(SELECT DISTINCT * EXCEPT (version, baseline_id, slice, field, kind, shares, sketch), arrayJoin(if(two, "
    "[('arm', 'a', 'b'), ('version', '1', '2')], [('arm', 'a', 'b')])) AS side, arrayJoin(["
    "('events', 'error_rate'), ('latency_ms', 'mean'), ('latency_ms', 'p50'), ('latency_ms', 'p99'), "
    "('latency_ms', 'slow_rate'), ('score', 'mean'), ('score', 'null_rate'), ('score', 'psi')]) AS measured "
    f"FROM {SERIES} {ONCE} "
    "ORDER BY model, side, measured)"
)


def _quantile(z: float) -> str:
    return f"mean + std * ({z} + shift)"


TABLE_FILLS: tuple[TableFill, ...] = (
    TableFill(
        "drift",
        {
            **KEY,
            **OF_WINDOW,
            "n": "toUInt64(expected)",
            "psi": "psi",
            "psi_low": "greatest(0, psi - half_width)",
            "psi_high": "psi + half_width",
            "js": "sqrt(psi) / 3",
            "p_value": f"if(changed, 1e-9, {uniform(16)})",
            "q_value": f"if(changed, 1e-7, {uniform(16)})",
            "df": "length(shares) - 1",
            "phi": "1.5",
            "season": "'none'",
            "level": _LEVEL,
            "reason": "''",
            "threshold_minor": str(MINOR),
            "threshold_major": str(MAJOR),
            "top_bin": "concat('bin ', toString(h % length(shares)))",
            "top_bin_index": "h % length(shares)",
            "expected_share": "shares[h % length(shares) + 1]",
            "actual_share": "shares[h % length(shares) + 1] * (1 + psi)",
            "visible_shift": "2.8 / sqrt(expected)",
            **JUDGED,
        },
        _PSI,
    ),
    TableFill(
        "rates",
        {
            **KEY,
            "kind": "of",
            **OF_WINDOW,
            "n": "events",
            "k": "bad",
            "rate": "share",
            "baseline_rate": "0.001",
            "delta": "share - 0.001",
            "delta_low": "share - 0.001 - 1 / sqrt(events)",
            "delta_high": "share - 0.001 + 1 / sqrt(events)",
            "p_value": "if(share > 0.05, 1e-9, 0.5)",
            "phi": "1.5",
            "level": "multiIf(share > 0.05, 'major', share > 0.01, 'minor', 'stable')",
            "reason": "''",
            "threshold_minor": "0.01",
            "threshold_major": "0.05",
            **JUDGED,
        },
        _RATES,
    ),
    TableFill(
        "distances",
        {
            **KEY,
            **OF_WINDOW,
            "n": "toUInt64(expected)",
            "phi": "1.5",
            "ks": "abs(shift) / 2",
            "ks_error": "0.02",
            "ks_threshold": "0.05",
            "ks_rejects": "abs(shift) / 2 > 0.05",
            "w1": "abs(shift) / 1.35",
            "mean": _quantile(0),
            "mean_shift": "shift",
            "mean_shift_low": "shift - far",
            "mean_shift_high": "shift + far",
            "std_ratio": f"0.95 + 0.1 * {uniform(16)}",
            "std_ratio_low": f"0.9 + 0.1 * {uniform(16)}",
            "std_ratio_high": f"1 + 0.1 * {uniform(16)}",
            "p05": _quantile(-1.64),
            "p25": _quantile(-0.67),
            "p50": _quantile(0),
            "p75": _quantile(0.67),
            "p95": _quantile(1.64),
            "p99": _quantile(2.33),
            **JUDGED,
        },
        _SHIFT,
    ),
    TableFill(
        "comparisons",
        {
            "model": "model",
            "kind": "side.1",
            "left": "side.2",
            "right": "side.3",
            "field": "measured.1",
            "measure": "measured.2",
            "category": "''",
            **OF_WINDOW,
            "n_left": "toUInt64(expected / 2)",
            "n_right": "toUInt64(expected / 2)",
            "left_value": "if(measured.2 = 'psi', nan, 10)",
            "right_value": f"if(measured.2 = 'psi', nan, 10 + {uniform(0)})",
            "difference": f"if(measured.2 = 'psi', 0.1, 1) * {uniform(0)}",
            "difference_low": f"if(measured.2 = 'psi', 0.1, 1) * {uniform(0)} - 0.1",
            "difference_high": f"if(measured.2 = 'psi', 0.1, 1) * {uniform(0)} + 0.1",
            "p_value": uniform(16),
            "df": "10.",
            "phi_left": "1.",
            "phi_right": "1.",
            "level": "if(measured.2 IN ('mean', 'p50', 'p99'), '', 'stable')",
            "reason": "''",
            "threshold_minor": "if(measured.2 IN ('mean', 'p50', 'p99'), nan, 0.1)",
            "threshold_major": "if(measured.2 IN ('mean', 'p50', 'p99'), nan, 0.2)",
            "top_bin": "if(measured.2 = 'psi', 'bin 3', '')",
            "source": "if(measured.2 = 'psi', 'counts', 'moments')",
            **JUDGED,
        },
        windows(_SIDES, step=QUARTERS),
    ),
    TableFill(
        "arm_ratios",
        {
            "model": "model",
            "unit": "'context.user'",
            "since": "fromUnixTimestamp64Milli(1000 * toInt64(since_s), 'UTC')",
            "at": "fromUnixTimestamp64Milli(1000 * toInt64(start), 'UTC')",
            "arm": "arrayJoin(['a', 'b'])",
            "expected_share": "0.5",
            "units": "toUInt64((start - since_s) / 60)",
            "share": "0.5",
            "crossovers": "0",
            "without_unit": "0",
            "p_value": "1.",
            "level": "'stable'",
            "reason": "''",
        },
        hours(where=ONCE),
    ),
)
