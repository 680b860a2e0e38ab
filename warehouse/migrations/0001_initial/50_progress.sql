-- Progress of the monitor: merged offsets, watermarks and losses, and the freshness of each model.

CREATE TABLE IF NOT EXISTS offset_ledger
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic whose monitor wrote the row',
    source_partition UInt16 COMMENT 'Partition of the predictions topic',
    end_offset UInt64 COMMENT 'First offset of the source partition that has not been merged; the next offset range starts here',
    watermarks Map(String, Int64) COMMENT 'Watermark per model in Unix milliseconds: no older event is expected from the source partition',
    last_event_at DateTime64(3, 'UTC') COMMENT 'Latest event time read from the source partition, capped at its received time',
    partitions UInt16 COMMENT 'Largest number of source partitions observed; no pane is sealed before each partition has a watermark',
    counted_at DateTime64(3, 'UTC') COMMENT 'Time at which the number of source partitions was last read',
    source_topic_id String COMMENT 'Kafka id of the predictions topic; it changes when the topic is recreated',
    partials_topic_id String COMMENT 'Kafka id of the partials topic; a new id starts a new epoch',
    epoch UInt16 COMMENT 'Incarnation of the partials topic, in the upper 16 bits of record_seq',
    record_seq UInt64 COMMENT 'Position of the last record that changed the row in the partials topic: epoch * 2^48 + offset'
)
ENGINE = ReplacingMergeTree(record_seq)
ORDER BY (partials_partition, source_partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Offset ledger: how far the merged offset ranges of each source partition are contiguous, per partials partition; kept forever. The monitor resumes from it.';

CREATE TABLE IF NOT EXISTS progress
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that contains the model',
    model LowCardinality(String) COMMENT 'Model',
    watermark DateTime64(3, 'UTC') COMMENT 'Smallest watermark of the model over all source partitions; 1970 if a partition has none',
    sealed_until DateTime64(3, 'UTC') COMMENT 'End of the last sealed pane: verdicts up to here are final, apart from late events',
    updated_at DateTime64(3, 'UTC') COMMENT 'Time at which the row was written, by the monitor''s clock',
    record_seq UInt64 COMMENT 'Position of the last record that changed the row in the partials topic: epoch * 2^48 + offset'
)
ENGINE = ReplacingMergeTree(record_seq)
ORDER BY (partials_partition, model)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Event time up to which each model has been read and judged; kept forever. The view model_freshness shows it in seconds.';

CREATE TABLE IF NOT EXISTS losses
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic whose monitor recorded the loss',
    source_partition UInt16 COMMENT 'Partition of the predictions topic that the offsets belong to',
    start_offset UInt64 COMMENT 'First lost offset',
    end_offset UInt64 COMMENT 'First offset after the range',
    epoch UInt16 MATERIALIZED toUInt16(bitShiftRight(record_seq, 48)) COMMENT 'Incarnation of the partials topic, in the upper 16 bits of record_seq; offsets restart with a new topic',
    from_time DateTime64(3, 'UTC') COMMENT 'Time of the last event before the range, or the time at which nothing was left to read if that is later; lost events are no older, apart from out-of-order events',
    to_time DateTime64(3, 'UTC') COMMENT 'First event time after the range; windows that overlap [from_time - out_of_order, to_time] are incomplete',
    reason LowCardinality(String) COMMENT 'Reason of the loss: retention overtook the sketcher, offsets were reset, or the monitor''s description',
    recorded_at DateTime64(3, 'UTC') COMMENT 'Time at which the loss was recorded, by the monitor''s clock',
    record_seq UInt64 COMMENT 'Position of the record that revealed the loss in the partials topic: epoch * 2^48 + offset'
)
ENGINE = ReplacingMergeTree(record_seq)
ORDER BY (partials_partition, source_partition, epoch, start_offset, end_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Ranges of source offsets whose events are in no pane; kept forever. Each partials partition has its own row of a loss.';
