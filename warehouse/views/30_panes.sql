-- Panes, hours and days.
--
-- Views allow conditions on the sorting key (model, version, slice, field, window, time) to reach the table's index. They
-- join baselines by model as well, so that baselines of other models are not read.

CREATE OR REPLACE VIEW all_panes
(
    model, version, baseline_id, slice, field, pane_start,
    pane_end DateTime('UTC') ALIAS pane_start + pane_s COMMENT 'End of the pane in event time, exclusive',
    pane_s, n, nulls, invalid, below, above, unseen, counts,
    mean Float64 ALIAS if(isFinite(stored.minimum) AND n > nulls AND mapContains(means, field), means[field] + shift_sum / (n - nulls), nan) COMMENT 'Mean of the valid numbers; NaN without numbers, moments or a known baseline',
    stddev Float64 ALIAS if(
        isFinite(stored.minimum) AND n > nulls + 1,
        sqrt(greatest(shift_square_sum - shift_sum * shift_sum / (n - nulls), 0) / (n - nulls - 1)),
        nan
    ) COMMENT 'Sample standard deviation of the valid numbers; NaN with fewer than two numbers or without moments',
    minimum ALIAS if(isFinite(stored.minimum), stored.minimum, nan) COMMENT 'Smallest valid number; NaN if there is none or it is not tracked',
    maximum ALIAS if(isFinite(stored.maximum), stored.maximum, nan) COMMENT 'Largest valid number; NaN if there is none or it is not tracked',
    sealed
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
FROM panes AS stored FINAL
LEFT JOIN (SELECT model, baseline_id, any(means) AS means FROM baselines GROUP BY model, baseline_id) AS known USING (model, baseline_id)
COMMENT 'Counts and moments of each field per slice and pane, one row each.';

CREATE OR REPLACE VIEW hours
(
    LIKE all_panes
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
FROM rollups AS stored FINAL
LEFT JOIN (SELECT model, baseline_id, any(means) AS means FROM baselines GROUP BY model, baseline_id) AS known USING (model, baseline_id)
WHERE pane_s = 3600
UNION ALL
SELECT *
FROM all_panes
WHERE pane_s >= 3600
COMMENT 'Counts and moments of each field per slice and hour: hourly rollups, and panes of an hour or longer.';

CREATE OR REPLACE VIEW days
(
    LIKE all_panes
)
FROM rollups AS stored FINAL
LEFT JOIN (SELECT model, baseline_id, any(means) AS means FROM baselines GROUP BY model, baseline_id) AS known USING (model, baseline_id)
WHERE pane_s = 86400
UNION ALL
SELECT *
FROM all_panes
WHERE pane_s >= 86400
COMMENT 'Counts and moments of each field per slice and UTC day: daily rollups, and panes of a day or longer. A day appears once it is sealed. If the pane length does not divide a day, there are no days.';

CREATE OR REPLACE VIEW unseen_categories
(
    model, field, category,
    first_seen DateTime('UTC') ALIAS min(hour.pane_start) COMMENT 'Start of the first hour (or longer pane) with the category, in event time',
    last_seen DateTime('UTC') ALIAS max(hour.pane_start) COMMENT 'Start of the last hour (or longer pane) with the category',
    n UInt64 ALIAS sum(hour.n_low) COMMENT 'Lower bound of the number of events with the category; hours in which it is not among the 50 most frequent are not included',
    n_high ALIAS sum(hour.n_high) COMMENT 'Upper bound of the number of events with the category in those hours'
)
FROM
(
    SELECT
        model,
        field,
        category,
        pane_start,
        n_low,
        n_high,
        record_seq = max(record_seq) OVER (PARTITION BY model, version, baseline_id, field, pane_start) AS is_last
    FROM new_categories FINAL
) AS hour
WHERE hour.is_last
GROUP BY model, field, category
COMMENT 'Category values that do not occur in the training data: when and how often each occurred.';
