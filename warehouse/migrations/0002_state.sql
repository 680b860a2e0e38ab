-- State of the monitor: panes, hourly roll-ups, volume, and how far its inputs were read.
--
-- Every row carries record_seq, the place in the partials topic of the last record that changed it, and the row with the
-- greatest record_seq replaces the others of its key. All of it is written synchronously to disk (fsync), because offsets are
-- acknowledged to Kafka on the strength of it.
--
-- Events of up to 400 days ago are taken, so panes are kept for longer than that.

CREATE TABLE IF NOT EXISTS panes
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that the model is read from',
    model LowCardinality(String) COMMENT 'Model that the pane describes',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline whose bins the counts are on',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Observed series: a feature, the score, the class, latency, a metric',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time; it ends, exclusive, after pane_s' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Events with a valid or null value; invalid ones are not among them' CODEC(T64, ZSTD(1)),
    nulls UInt64 COMMENT 'Events whose value is null or missing' CODEC(T64, ZSTD(1)),
    invalid UInt64 COMMENT 'Events whose value is not of the type that the contract says, NaN and infinities included' CODEC(T64, ZSTD(1)),
    below UInt64 COMMENT 'Valid values under the lower limit; they are in the first bin too' CODEC(T64, ZSTD(1)),
    above UInt64 COMMENT 'Valid values over the upper limit; they are in the last bin too' CODEC(T64, ZSTD(1)),
    unseen UInt64 COMMENT 'Values of categories that the baseline does not keep' CODEC(T64, ZSTD(1)),
    counts Array(UInt64) COMMENT 'Events per cell of the baseline: one per bin (numbers) or per category and then unseen (categories), and null last' CODEC(T64, ZSTD(1)),
    shift_sum Float64 COMMENT 'Sum of (value - training mean) over valid numbers, NaN where it is not kept' CODEC(ZSTD(1)),
    shift_square_sum Float64 COMMENT 'Sum of (value - training mean) squared over valid numbers, NaN where it is not kept' CODEC(ZSTD(1)),
    minimum Float64 COMMENT 'Least valid number, not finite where there is none or it is not kept' CODEC(ZSTD(1)),
    maximum Float64 COMMENT 'Greatest valid number, not finite where there is none or it is not kept' CODEC(ZSTD(1)),
    sketch String COMMENT 'Sketch of the values in its checked envelope, empty where none is kept' CODEC(ZSTD(1)),
    sealed Bool COMMENT 'Whether no event for the pane is expected any more',
    record_seq UInt64 COMMENT 'Place in the partials topic of the last record that changed the row: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, slice, field, pane_s, pane_start)
TTL pane_start + INTERVAL 430 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Counts of each field per slice and pane; kept for 430 days of event time. Older states of a row can linger until the next merge: read the view all_panes.';

CREATE TABLE IF NOT EXISTS rollups
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that the model is read from',
    model LowCardinality(String) COMMENT 'Model that the roll-up describes',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline whose bins the counts are on',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Observed series: a feature, the score, the class, latency, a metric',
    pane_start DateTime('UTC') COMMENT 'Start of the hour in event time' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length in seconds: 3600',
    n UInt64 COMMENT 'Events with a valid or null value; invalid ones are not among them' CODEC(T64, ZSTD(1)),
    nulls UInt64 COMMENT 'Events whose value is null or missing' CODEC(T64, ZSTD(1)),
    invalid UInt64 COMMENT 'Events whose value is not of the type that the contract says, NaN and infinities included' CODEC(T64, ZSTD(1)),
    below UInt64 COMMENT 'Valid values under the lower limit; they are in the first bin too' CODEC(T64, ZSTD(1)),
    above UInt64 COMMENT 'Valid values over the upper limit; they are in the last bin too' CODEC(T64, ZSTD(1)),
    unseen UInt64 COMMENT 'Values of categories that the baseline does not keep' CODEC(T64, ZSTD(1)),
    counts Array(UInt64) COMMENT 'Events per cell of the baseline, as in panes' CODEC(T64, ZSTD(1)),
    shift_sum Float64 COMMENT 'Sum of (value - training mean) over valid numbers, NaN where it is not kept' CODEC(ZSTD(1)),
    shift_square_sum Float64 COMMENT 'Sum of (value - training mean) squared over valid numbers, NaN where it is not kept' CODEC(ZSTD(1)),
    minimum Float64 COMMENT 'Least valid number, not finite where there is none or it is not kept' CODEC(ZSTD(1)),
    maximum Float64 COMMENT 'Greatest valid number, not finite where there is none or it is not kept' CODEC(ZSTD(1)),
    sketch String COMMENT 'Merged sketch of the values in its checked envelope, empty where none is kept' CODEC(ZSTD(1)),
    sealed Bool COMMENT 'Whether all panes of the hour are sealed',
    record_seq UInt64 COMMENT 'Place in the partials topic of the last record that changed the row: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, slice, field, pane_s, pane_start)
TTL pane_start + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Panes shorter than an hour merged by the hour; kept for 750 days of event time. The view hours joins them with the panes that are as long or longer.';

CREATE TABLE IF NOT EXISTS volume
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that the model is read from',
    model LowCardinality(String) COMMENT 'Model that was asked',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in force for the pane',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time; it ends, exclusive, after pane_s' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Predictions, failed ones included; 0 is silence and has a row' CODEC(T64, ZSTD(1)),
    errors UInt64 COMMENT 'Predictions that failed' CODEC(T64, ZSTD(1)),
    late UInt64 COMMENT 'Predictions that came after the pane was sealed; they are in n too' CODEC(T64, ZSTD(1)),
    sealed Bool COMMENT 'Whether no event for the pane is expected any more',
    unregistered Bool COMMENT 'Whether the version is not registered: it is judged against the newest baseline of its model',
    record_seq UInt64 COMMENT 'Place in the partials topic of the last record that changed the row: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, slice, pane_s, pane_start)
TTL pane_start + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Predictions and failures per slice and pane, silence included; kept for 750 days of event time. Older states of a row can linger until the next merge: read the view all_volume.';

CREATE TABLE IF NOT EXISTS offset_ledger
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic whose monitor wrote the row',
    source_partition UInt16 COMMENT 'Partition of the predictions topic',
    end_offset UInt64 COMMENT 'First offset of the source partition that has not been merged: the next range starts here',
    watermarks Map(String, Int64) COMMENT 'Watermark per model in milliseconds since 1970: no event older than this is expected from the source partition',
    last_event_at DateTime64(3, 'UTC') COMMENT 'Newest event time read from the source partition, clipped to its received time',
    partitions UInt16 COMMENT 'Largest number of source partitions ever read: nothing is sealed before each of them has a watermark',
    counted_at DateTime64(3, 'UTC') COMMENT 'When the number of source partitions was read last',
    source_topic_id String COMMENT 'Kafka id of the predictions topic: another one means that it was created again',
    partials_topic_id String COMMENT 'Kafka id of the partials topic: another one begins a new epoch',
    epoch UInt16 COMMENT 'Incarnation of the partials topic, in the upper 16 bits of record_seq',
    record_seq UInt64 COMMENT 'Place in the partials topic of the last record that changed the row: epoch * 2^48 + offset'
)
ENGINE = ReplacingMergeTree(record_seq)
ORDER BY (partials_partition, source_partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'How far the ranges of each source partition follow one another without a gap, per partials partition; kept for good. The monitor starts from it.';

CREATE TABLE IF NOT EXISTS progress
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that the model is read from',
    model LowCardinality(String) COMMENT 'Model that was read',
    watermark DateTime64(3, 'UTC') COMMENT 'Least watermark of the model over all source partitions; 1970 where one of them has none',
    sealed_until DateTime64(3, 'UTC') COMMENT 'End of the last sealed pane: verdicts are final up to here, late events apart',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the monitor wrote the row, by its own clock',
    record_seq UInt64 COMMENT 'Place in the partials topic of the last record that changed the row: epoch * 2^48 + offset'
)
ENGINE = ReplacingMergeTree(record_seq)
ORDER BY (partials_partition, model)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Until when each model has been read and judged, in event time; kept for good. The view model_freshness says the same in seconds.';

CREATE TABLE IF NOT EXISTS losses
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic whose monitor recorded the loss',
    source_partition UInt16 COMMENT 'Partition of the predictions topic that the offsets belong to',
    start_offset UInt64 COMMENT 'First offset that was lost',
    end_offset UInt64 COMMENT 'First offset after it that was not lost',
    epoch UInt16 DEFAULT toUInt16(bitShiftRight(record_seq, 48)) COMMENT 'Incarnation of the partials topic, in the upper 16 bits of record_seq: offsets begin again with a new topic',
    from_time DateTime64(3, 'UTC') COMMENT 'Last event before the range, or when nothing was left to read if that is later: what is lost is no older, give or take what may be out of order',
    to_time DateTime64(3, 'UTC') COMMENT 'First event time after the range: windows that overlap [from_time - out_of_order, to_time] are incomplete',
    reason LowCardinality(String) COMMENT 'Why: retention overtook the sketcher, offsets were reset, or as the monitor says',
    recorded_at DateTime64(3, 'UTC') COMMENT 'When the loss was recorded, by the clock of the monitor',
    record_seq UInt64 COMMENT 'Place in the partials topic of the record that showed the loss: epoch * 2^48 + offset'
)
ENGINE = ReplacingMergeTree(record_seq)
ORDER BY (partials_partition, source_partition, epoch, start_offset, end_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Ranges of source offsets whose events are in no pane; kept for good. Each partials partition has its own row of one loss.';
