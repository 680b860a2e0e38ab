-- Verdicts on windows.
--
-- The latest revision is the first row by descending record_seq; argMax of every column and FINAL cost twice as much.
-- Verdicts are sorted by model and field, so a query on one window of all models would read every row. The projections
-- hold the levels by window instead; a maximum is not affected by duplicate rows.

CREATE OR REPLACE VIEW latest_drift
(
    LIKE drift,
    revisions UInt64 COMMENT 'Number of verdicts on the window; more than one if late events arrived'
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
    LIKE rates,
    revisions UInt64 COMMENT 'Number of verdicts on the window; more than one if late events arrived'
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
    LIKE distances,
    revisions UInt64 COMMENT 'Number of revisions; more than one if late events arrived'
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
