CREATE OR REPLACE VIEW latest_performance
(
    LIKE performance,
    revisions UInt64 COMMENT 'Number of revisions'
)
FROM
(
    SELECT *, uniqExact(revision) OVER (PARTITION BY model, version, slice, metric, class, window, window_end) AS revisions
    FROM performance
    ORDER BY revision DESC, revised_at DESC
    LIMIT 1 BY model, version, slice, metric, class, window, window_end
)
WHERE predictions > 0
COMMENT 'Performance of each window on the labels received so far: the latest revision. Check mature and coverage before you rely on it.';

CREATE OR REPLACE VIEW arm_performance
(
    model ALIAS a.model,
    version ALIAS a.version COMMENT 'Version that serves the arm',
    other_version LowCardinality(String) ALIAS b.version COMMENT 'Version that serves the other arm',
    metric ALIAS a.metric COMMENT 'Metric',
    class ALIAS a.class COMMENT 'Class of a per-class metric',
    window ALIAS a.window COMMENT 'Length of the window',
    window_start ALIAS a.window_start,
    window_end ALIAS a.window_end,
    arm String ALIAS substring(a.slice, 5) COMMENT 'The arm',
    other_arm String ALIAS substring(b.slice, 5) COMMENT 'The arm it is compared with',
    value ALIAS a.value COMMENT 'Value of the metric in the arm',
    other_value Float64 ALIAS b.value COMMENT 'Value of the metric in the other arm',
    difference ALIAS a.value - b.value COMMENT 'value - other_value',
    difference_low ALIAS difference - sqrt(pow(a.value - a.low, 2) + pow(b.high - b.value, 2)) COMMENT 'Lower end of the 95 % interval of the difference (square and add; Newcombe 1998 for shares)',
    difference_high ALIAS difference + sqrt(pow(a.high - a.value, 2) + pow(b.value - b.low, 2)),
    n ALIAS a.n COMMENT 'Labelled predictions in the arm',
    other_n UInt64 ALIAS b.n COMMENT 'Labelled predictions in the other arm',
    mature ALIAS a.mature AND b.mature COMMENT 'Whether the labels of both arms are mature',
    sufficient ALIAS a.sufficient AND b.sufficient COMMENT 'Whether both arms have enough labels'
)
FROM (SELECT * FROM latest_performance WHERE startsWith(slice, 'arm=')) AS a
INNER JOIN (SELECT * FROM latest_performance WHERE startsWith(slice, 'arm=')) AS b
    ON a.model = b.model AND a.metric = b.metric AND a.class = b.class AND a.window = b.window AND a.window_end = b.window_end
WHERE a.slice != b.slice AND a.slice != 'arm=other' AND b.slice != 'arm=other'
COMMENT 'Pairwise performance comparison of the arms of an A/B test, in both directions, with the interval of the difference. An arm served by several versions has a row for each.';

CREATE OR REPLACE VIEW estimate_trust
(
    model, version,
    metric COMMENT 'Estimated metric: accuracy, precision, recall, f1 or auc; with more than two classes accuracy, precision_macro, recall_macro, f1_macro or auc_macro; for numbers mae or rmse',
    window COMMENT 'Length of the windows',
    first_window DateTime('UTC') ALIAS min(window_start) COMMENT 'Start of the earliest window',
    last_window DateTime('UTC') ALIAS max(window_start) COMMENT 'Start of the latest window',
    windows UInt64 ALIAS count() COMMENT 'Windows with mature labels: the latest twenty, of the slice all',
    bias Float64 ALIAS avg(error) COMMENT 'Mean of (estimate - value)',
    off_share Float64 ALIAS avg(abs(error) > tolerance AND (error_low > 0 OR error_high < 0)) COMMENT 'Share of the windows whose estimate deviates significantly and by more than 0.02, for mae by more than 10 % of the value',
    sufficient ALIAS windows >= 3 COMMENT 'Whether there are enough windows: at least three',
    trusted Bool ALIAS sufficient AND off_share <= 0.2 AND NOT (abs(bias) > avg(tolerance) AND abs(bias) > sqrt(sum(pow((error_high - error_low) / 2, 2))) / windows) COMMENT 'Whether the estimate is reliable: at most a fifth of the windows deviate, and the mean does not'
)
FROM
(
    SELECT
        model,
        version,
        metric,
        window,
        window_start,
        cbpe_error AS error,
        if(metric IN ('mae', 'rmse'), 0.1 * value, 0.02) AS tolerance,
        error - sqrt(ifNotFinite(pow(cbpe - cbpe_low, 2), 0) + pow(high - value, 2)) AS error_low,
        error + sqrt(ifNotFinite(pow(cbpe_high - cbpe, 2), 0) + pow(value - low, 2)) AS error_high
    FROM latest_performance
    WHERE slice = 'all' AND class = '' AND isFinite(cbpe_error)
    ORDER BY window_start DESC
    LIMIT 20 BY model, version, metric, window
)
GROUP BY model, version, metric, window
COMMENT 'Accuracy of label-free estimates against the performance measured once labels matured. Concept drift shows up here.';

CREATE OR REPLACE VIEW calibration_curve
(
    model, version, slice,
    window_start COMMENT 'Start of the score window in event time. For a longer window sum n, score_sum and positives',
    bin Int32 COMMENT 'Bin of the score, in ascending order; with more than two classes: class × bins + bin',
    n UInt64 COMMENT 'Labelled predictions in the bin',
    score_sum Float64 COMMENT 'Sum of the scores per bin',
    positives UInt64 COMMENT 'Labelled predictions in the bin whose label is the scored class',
    score Float64 ALIAS score_sum / n COMMENT 'Mean score',
    rate Float64 ALIAS positives / n COMMENT 'Share of positives; equals score if the model is calibrated'
)
FROM
(
    SELECT state.model AS model, state.version AS version, state.slice AS slice, state.window_start AS window_start, bins, bin_labelled, bin_labelled_scores, bin_positives
    FROM performance_state AS state FINAL
    INNER JOIN (SELECT model, argMax(basis, updated_at) AS basis FROM scorer_models GROUP BY model) AS current ON state.model = current.model AND state.basis = current.basis
)
ARRAY JOIN bins AS bin, bin_labelled AS n, bin_labelled_scores AS score_sum, bin_positives AS positives
WHERE n > 0 AND bin >= 0
COMMENT 'Calibration: predicted scores against observed outcomes, per score window and bin. Filter by model and a range of window_start.';

CREATE OR REPLACE VIEW label_maturity
(
    model,
    age_s Float64 COMMENT 'Age of a prediction in seconds',
    share Float64 COMMENT 'Share of the labels that ever arrive that has arrived by that age',
    share_low Float64 COMMENT 'Lower end of the 95 % interval of the share',
    share_high Float64 COMMENT 'Upper end of the 95 % interval of the share',
    coverage, mature_age_s, learned_at
)
FROM
(
    SELECT
        model,
        argMax(curve.ages_s, curve.learned_at) AS ages_s,
        argMax(curve.shares, curve.learned_at) AS shares,
        argMax(curve.shares_low, curve.learned_at) AS shares_low,
        argMax(curve.shares_high, curve.learned_at) AS shares_high,
        argMax(curve.coverage, curve.learned_at) AS coverage,
        argMax(curve.mature_age_s, curve.learned_at) AS mature_age_s,
        max(curve.learned_at) AS learned_at
    FROM maturity AS curve
    GROUP BY model
)
ARRAY JOIN ages_s AS age_s, shares AS share, shares_low AS share_low, shares_high AS share_high
COMMENT 'Label delay: the share of labels that arrive by each prediction age; the latest learned curve of each model.';

CREATE OR REPLACE VIEW latest_references
(
    model, version, slice, age_s, from_time, to_time, predictions, labelled, chosen, frozen_at
)
FROM performance_reference FINAL
WHERE to_time > from_time
AND (model, basis) IN (SELECT model, argMax(basis, updated_at) FROM scorer_models GROUP BY model)
AND (model, version, basis, frozen_at) IN (SELECT model, version, basis, max(frozen_at) FROM performance_reference GROUP BY model, version, basis)
COMMENT 'The reference in force of each version, by slice and label age.';

CREATE OR REPLACE VIEW unmatched_labels
(
    model,
    hour DateTime('UTC') ALIAS toStartOfHour(at) COMMENT 'Hour of event time at which the ground truth became known',
    labels UInt64 ALIAS count() COMMENT 'Labels whose prediction has not arrived'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
FROM pending_labels FINAL
WHERE matched = 0
GROUP BY model, hour
COMMENT 'Labels whose prediction has not arrived, by the hour of the label. If a model records a share of predictions, only labels of that share count.';

CREATE OR REPLACE VIEW label_counts
(
    model,
    version COMMENT 'Version of the model; empty for unmatched labels',
    hour COMMENT 'Start of the score window of the predictions; for unmatched labels the hour of the label',
    kind COMMENT 'Kind of count: predictions, failed, duplicates, unscored, out_of_range, undeclared_class, invalid_sum, labelled, early, corrections, late, wrong_type and undeclared_label as in performance_state; unlabelled for predictions without an accepted label (most labels are late or never arrive); unmatched for labels whose prediction has not arrived',
    n UInt64 COMMENT 'Number of predictions or labels'
)
AS
SELECT model, version, hour, kind, n
FROM
(
    SELECT
        state.model AS model,
        state.version AS version,
        state.window_start AS hour,
        [('predictions', predictions), ('failed', failed), ('duplicates', duplicates), ('unscored', unscored), ('out_of_range', out_of_range), ('undeclared_class', undeclared_class), ('invalid_sum', invalid_sum), ('labelled', labelled), ('unlabelled', toUInt64(predictions - labelled)), ('early', early), ('corrections', corrections), ('late', late), ('wrong_type', wrong_type), ('undeclared_label', undeclared_label)] AS counts
    FROM performance_state AS state FINAL
    INNER JOIN (SELECT model, argMax(basis, updated_at) AS basis FROM scorer_models GROUP BY model) AS current ON state.model = current.model AND state.basis = current.basis
    WHERE state.slice = 'all' AND state.predictions > 0
    UNION ALL
    SELECT model, '' AS version, hour, [('unmatched', labels)] AS counts FROM unmatched_labels
)
ARRAY JOIN counts.1 AS kind, counts.2 AS n
COMMENT 'Number of predictions and labels of each kind, per score window of the slice all.';
