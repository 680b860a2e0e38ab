-- Panes and rollups: the monitor's counts per field, slice and time.
--
-- Every row carries record_seq, the position in the partials topic of the last record that changed the row; the row with
-- the greatest record_seq replaces the others of its key. Inserts are synchronous to disk (fsync), because the monitor
-- commits Kafka offsets after them. Events up to 400 days old are accepted, so panes are kept longer than that.
--
-- A UTC day is one more rollup row per field and slice, so a year of a field is 365 rows. new_categories is read from the
-- sketch of an hour; when an hour is reread, its rows with the greatest record_seq count.

CREATE TABLE IF NOT EXISTS panes
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that contains the model',
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline whose bins the counts use',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Field: a feature, the score, the class, latency or a metric',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time; the pane ends, exclusive, after pane_s seconds' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Events with a valid or null value; events with an invalid value are excluded' CODEC(T64, ZSTD(1)),
    nulls UInt64 COMMENT 'Events whose value is null or missing' CODEC(T64, ZSTD(1)),
    invalid UInt64 COMMENT 'Events whose value does not have the contract''s type; includes NaN and infinities' CODEC(T64, ZSTD(1)),
    below UInt64 COMMENT 'Valid values below the lower limit; the first bin counts them too' CODEC(T64, ZSTD(1)),
    above UInt64 COMMENT 'Valid values above the upper limit; the last bin counts them too' CODEC(T64, ZSTD(1)),
    unseen UInt64 COMMENT 'Values of categories that are not in the baseline' CODEC(T64, ZSTD(1)),
    counts Array(UInt64) COMMENT 'Events per cell of the baseline: one per bin (numbers), or one per category followed by unseen (categories); null is last' CODEC(T64, ZSTD(1)),
    shift_sum Float64 COMMENT 'Sum of (value - training mean) over valid numbers; NaN if not tracked' CODEC(ZSTD(1)),
    shift_square_sum Float64 COMMENT 'Sum of (value - training mean) squared over valid numbers; NaN if not tracked' CODEC(ZSTD(1)),
    minimum Float64 COMMENT 'Smallest valid number; not finite if there is none or it is not tracked' CODEC(ZSTD(1)),
    maximum Float64 COMMENT 'Largest valid number; not finite if there is none or it is not tracked' CODEC(ZSTD(1)),
    sketch String COMMENT 'Sketch of the values in its checksummed envelope; empty if there is none' CODEC(ZSTD(1)),
    sealed Bool COMMENT 'Whether the pane is complete: no more events for it are expected',
    record_seq UInt64 COMMENT 'Position of the last record that changed the row in the partials topic: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, slice, field, pane_s, pane_start)
TTL pane_start + INTERVAL 430 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Counts of each field per slice and pane; kept for 430 days of event time. Superseded rows can remain until the next merge: read the view all_panes.';

CREATE TABLE IF NOT EXISTS rollups
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that contains the model',
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline whose bins the counts use',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Field: a feature, the score, the class, latency or a metric',
    pane_start DateTime('UTC') COMMENT 'Start of the hour or UTC day in event time' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length in seconds: 3600 for an hour, 86400 for a day',
    n UInt64 COMMENT 'Events with a valid or null value; events with an invalid value are excluded' CODEC(T64, ZSTD(1)),
    nulls UInt64 COMMENT 'Events whose value is null or missing' CODEC(T64, ZSTD(1)),
    invalid UInt64 COMMENT 'Events whose value does not have the contract''s type; includes NaN and infinities' CODEC(T64, ZSTD(1)),
    below UInt64 COMMENT 'Valid values below the lower limit; the first bin counts them too' CODEC(T64, ZSTD(1)),
    above UInt64 COMMENT 'Valid values above the upper limit; the last bin counts them too' CODEC(T64, ZSTD(1)),
    unseen UInt64 COMMENT 'Values of categories that are not in the baseline' CODEC(T64, ZSTD(1)),
    counts Array(UInt64) COMMENT 'Events per cell of the baseline, as in panes' CODEC(T64, ZSTD(1)),
    shift_sum Float64 COMMENT 'Sum of (value - training mean) over valid numbers; NaN if not tracked' CODEC(ZSTD(1)),
    shift_square_sum Float64 COMMENT 'Sum of (value - training mean) squared over valid numbers; NaN if not tracked' CODEC(ZSTD(1)),
    minimum Float64 COMMENT 'Smallest valid number; not finite if there is none or it is not tracked' CODEC(ZSTD(1)),
    maximum Float64 COMMENT 'Largest valid number; not finite if there is none or it is not tracked' CODEC(ZSTD(1)),
    sketch String COMMENT 'Merged sketch of the values in its checksummed envelope; empty if there is none' CODEC(ZSTD(1)),
    sealed Bool COMMENT 'Whether all panes of the hour or day are sealed',
    record_seq UInt64 COMMENT 'Position of the last record that changed the row in the partials topic: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, slice, field, pane_s, pane_start)
TTL pane_start + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Panes shorter than an hour merged by hour, and panes shorter than a day merged by UTC day; kept for 750 days of event time. The views hours and days add the panes that are at least that long.';

CREATE TABLE IF NOT EXISTS new_categories
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline that lacks the category',
    field LowCardinality(String) COMMENT 'Category field',
    category String COMMENT 'The category, its first 256 characters' CODEC(ZSTD(1)),
    pane_start DateTime('UTC') COMMENT 'Start of the hour in event time, or of the pane if panes are longer' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length in seconds: 3600, or the pane length if panes are longer',
    n_low UInt64 COMMENT 'Lower bound of the number of events with the category' CODEC(T64, ZSTD(1)),
    n_high UInt64 COMMENT 'Upper bound of the number of events with the category; equals n_low up to 192 distinct unseen categories' CODEC(T64, ZSTD(1)),
    record_seq UInt64 COMMENT 'Position of the last record that changed the hour in the partials topic: epoch * 2^48 + offset; rows of an hour with a smaller position are superseded' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, field, pane_start, category)
TTL pane_start + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Category values that do not occur in the training data: per hour and field the 50 with the greatest guaranteed count; kept for 750 days of event time. In live mode the open hour is included. Read the view unseen_categories.';
