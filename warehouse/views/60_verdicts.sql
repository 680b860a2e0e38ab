-- Verdicts on windows.
--
-- The latest revision is the first row by descending record_seq; argMax of every column and FINAL cost twice as much.
-- Verdicts are sorted by model and field, so a query on one window of all models would read every row. The projections
-- hold the levels by window instead; a maximum is not affected by duplicate rows.

CREATE OR REPLACE VIEW latest_drift
(
    model, version, baseline_id, slice, field, window, window_start, window_end, n, psi, psi_low, psi_high, js, p_value,
    q_value, df, phi, season, level, reason, threshold_minor, threshold_major, top_bin, top_bin_index, expected_share,
    actual_share, visible_shift, readings, readings_needed, mean_rank, mean_p, false_major, completeness, judged_at,
    revisions UInt64 COMMENT 'Number of verdicts on the window; more than one if late events arrived',
    record_seq
)
FROM
(
    SELECT *, uniqExact(record_seq) OVER (PARTITION BY model, version, baseline_id, slice, field, window, window_end) AS revisions
    FROM drift
    ORDER BY record_seq DESC, judged_at DESC
    LIMIT 1 BY model, version, baseline_id, slice, field, window, window_end
)
COMMENT 'Drift verdicts on the distribution of each field per window: the latest revision of each.';

CREATE OR REPLACE VIEW latest_rates
(
    model, version, baseline_id, slice, field, kind, window, window_start, window_end, n, k, rate, baseline_rate, delta,
    delta_low, delta_high, p_value, phi, training_delta, level, reason, threshold_minor, threshold_major, completeness, judged_at,
    revisions UInt64 COMMENT 'Number of verdicts on the window; more than one if late events arrived',
    record_seq
)
FROM
(
    SELECT *, uniqExact(record_seq) OVER (PARTITION BY model, version, baseline_id, slice, field, kind, window, window_end) AS revisions
    FROM rates
    ORDER BY record_seq DESC, judged_at DESC
    LIMIT 1 BY model, version, baseline_id, slice, field, kind, window, window_end
)
COMMENT 'Verdicts on the rates of nulls, invalid, out-of-range and unseen values and of errors per window: the latest revision of each.';

CREATE OR REPLACE VIEW latest_distances
(
    model, version, baseline_id, slice, field, window, window_start, window_end, n, phi, ks, ks_error, ks_threshold,
    ks_rejects, w1, mean, mean_shift, mean_shift_low, mean_shift_high, std_ratio, std_ratio_low, std_ratio_high, p05, p25,
    p50, p75, p95, p99, completeness, judged_at,
    revisions UInt64 COMMENT 'Number of revisions; more than one if late events arrived',
    record_seq
)
FROM
(
    SELECT *, uniqExact(record_seq) OVER (PARTITION BY model, version, baseline_id, slice, field, window, window_end) AS revisions
    FROM distances
    ORDER BY record_seq DESC, judged_at DESC
    LIMIT 1 BY model, version, baseline_id, slice, field, window, window_end
)
COMMENT 'Descriptive statistics of the numbers in a window: the latest revision of each.';

CREATE OR REPLACE VIEW drift_levels
(
    model, version, slice, window, window_end,
    level COMMENT 'stable, minor, major or insufficient: a level that at least one field received',
    worst_psi Float64 ALIAS max(verdict.psi) COMMENT 'Largest PSI of the fields with that level; NaN if none has a PSI'
)
FROM drift AS verdict
GROUP BY model, version, slice, window, window_end, level
COMMENT 'Levels that the fields of a model received in each window, for queries over all models. Every revision counts. Filter by slice and a range of window_end.';

CREATE OR REPLACE VIEW rate_levels
(
    model, version, slice, kind, window, window_end,
    level COMMENT 'stable, minor, major or insufficient: a level that the rate of at least one field received',
    worst_delta Float64 ALIAS max(verdict.delta) COMMENT 'Largest delta of the fields with that level; NaN if none has a delta'
)
FROM rates AS verdict
GROUP BY model, version, slice, kind, window, window_end, level
COMMENT 'Levels that the rates of a model received in each window, by kind, for queries over all models. Every revision counts. Filter by slice and a range of window_end.';
