-- Smallest changes that are detected: what the guard computes once a day for each model.

CREATE TABLE IF NOT EXISTS detectability
(
    model LowCardinality(String) COMMENT 'Model',
    at DateTime64(3, 'UTC') COMMENT 'Time of the computation, wall clock; all rows of a computation have the same',
    contract_id LowCardinality(String) COMMENT 'Contract whose rules and windows were used',
    version LowCardinality(String) COMMENT 'Version of the newest verdicts, whose traffic was used',
    baseline_id LowCardinality(String) COMMENT 'Baseline of these verdicts',
    rule LowCardinality(String) COMMENT 'Rule that fires; empty for rows on the level major of one window',
    field LowCardinality(String) COMMENT 'Field that changes',
    slice LowCardinality(String) COMMENT 'Slice whose events change; rules read the slice all',
    window LowCardinality(String) COMMENT 'Window that becomes major; empty for a rule, which reads several',
    change LowCardinality(String) COMMENT 'shift of the mean, moved from the most frequent category to the second, or more nulls',
    rank UInt32 COMMENT 'Order among the rows of rules, or of windows, of a computation; 1 is the largest blind spot',
    std Float64 COMMENT 'Standard deviation of the field in training; NaN if it is not numeric',
    events Float64 COMMENT 'Events of a typical window in the last week: for a rule, of the window that decides; NaN without data',
    phi Float64 COMMENT 'Overdispersion in this window; NaN without data',
    in_hour Float64 COMMENT 'Smallest change that is detected within an hour with 80 % probability: standard deviations of training for shift, else a share of the events; infinite if none is',
    in_day Float64 COMMENT 'The same within a day',
    in_week Float64 COMMENT 'The same within a week',
    text String COMMENT 'For a rule, the change that is invisible in a day and why, for people; else empty'
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(at)
ORDER BY (model, at, rule, field, slice, window, change)
TTL toDateTime(at) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Smallest changes of fields that are detected, at the traffic and overdispersion of the last week: one computation per model and day; kept for 90 days. Rows are missing while no guard runs, and for models without verdicts.';
