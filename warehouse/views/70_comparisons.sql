CREATE OR REPLACE VIEW latest_comparisons
(
    LIKE comparisons
)
FROM
(
    SELECT *, max(record_seq) OVER (PARTITION BY model, kind, window, window_end) AS last_record_seq
    FROM comparisons FINAL
)
WHERE record_seq = last_record_seq
COMMENT 'Output comparisons of a version with its predecessor and of an arm with the control: the latest revision of each window. Filter by model and a range of window_end.';

CREATE OR REPLACE VIEW version_comparison
(
    model, window, window_start, window_end,
    previous LowCardinality(String) ALIAS left COMMENT 'Preceding version',
    version LowCardinality(String) ALIAS right COMMENT 'Version that is compared with previous',
    field, measure, category,
    previous_n UInt64 ALIAS n_left COMMENT 'Events of the preceding version',
    version_n UInt64 ALIAS n_right COMMENT 'Events of the version',
    previous_value Float64 ALIAS left_value COMMENT 'Mean, quantile or rate of the preceding version; NaN for psi',
    version_value Float64 ALIAS right_value COMMENT 'Mean, quantile or rate of the version; NaN for psi',
    difference COMMENT 'version_value - previous_value; for psi the PSI between the two',
    difference_low, difference_high, p_value, level, reason, top_bin, source, completeness
)
FROM latest_comparisons
WHERE kind = 'version'
COMMENT 'Differences between a version and its predecessor in windows where both had traffic: one row per window and measure. Filter by model and a range of window_end.';

CREATE OR REPLACE VIEW arm_comparison
(
    model, window, window_start, window_end,
    control LowCardinality(String) ALIAS left COMMENT 'Arm with which the others are compared',
    arm LowCardinality(String) ALIAS right COMMENT 'Arm that is compared with the control',
    field, measure, category,
    control_n UInt64 ALIAS n_left COMMENT 'Events of the control',
    arm_n UInt64 ALIAS n_right COMMENT 'Events of the arm',
    control_value Float64 ALIAS left_value COMMENT 'Mean, quantile or rate of the control; NaN for psi',
    arm_value Float64 ALIAS right_value COMMENT 'Mean, quantile or rate of the arm; NaN for psi',
    difference COMMENT 'arm_value - control_value; for psi the PSI between the two',
    difference_low, difference_high, p_value, level, reason, top_bin, source, completeness
)
FROM latest_comparisons
WHERE kind = 'arm'
COMMENT 'Differences between each arm of a test and the control: one row per window and measure. Filter by model and a range of window_end.';

CREATE OR REPLACE VIEW latest_arm_ratios
(
    model, unit, since,
    at ALIAS max(ratio.at),
    arm,
    expected_share ALIAS argMax(ratio.expected_share, ratio.at),
    units ALIAS argMax(ratio.units, ratio.at),
    share ALIAS argMax(ratio.share, ratio.at),
    crossovers ALIAS argMax(ratio.crossovers, ratio.at),
    without_unit ALIAS argMax(ratio.without_unit, ratio.at),
    p_value ALIAS argMax(ratio.p_value, ratio.at),
    level ALIAS argMax(ratio.level, ratio.at),
    reason ALIAS argMax(ratio.reason, ratio.at)
)
FROM arm_ratios AS ratio FINAL
GROUP BY model, unit, since, arm
COMMENT 'Sample ratio check: whether a test assigns units to its arms in the specified shares; the latest check of each test.';
