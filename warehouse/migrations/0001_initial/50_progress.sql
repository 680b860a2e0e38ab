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

CREATE VIEW IF NOT EXISTS all_model_freshness
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model; empty if no prediction has been counted',
    last_traffic_at DateTime('UTC') COMMENT 'End of the last pane in which the version made predictions; 1970 if there is none',
    last_counted_at DateTime('UTC') COMMENT 'End of the last counted pane, including panes without traffic',
    watermark DateTime64(3, 'UTC') COMMENT 'Event time up to which everything has been read; 1970 until every source partition has a watermark',
    sealed_until DateTime64(3, 'UTC') COMMENT 'Event time up to which verdicts are final, apart from late events',
    traffic_age_s Int64 COMMENT 'Seconds from last_traffic_at to now',
    sealed_age_s Int64 COMMENT 'Seconds from sealed_until to now: the minimum age of the newest final verdict',
    updated_at DateTime64(3, 'UTC') COMMENT 'Time of the monitor''s last update'
)
AS
SELECT
    model,
    counted.version AS version,
    counted.last_traffic_at AS last_traffic_at,
    counted.last_counted_at AS last_counted_at,
    position.watermark AS watermark,
    position.sealed_until AS sealed_until,
    dateDiff('second', counted.last_traffic_at, now('UTC')) AS traffic_age_s,
    dateDiff('second', position.sealed_until, now('UTC')) AS sealed_age_s,
    position.updated_at AS updated_at
FROM
(
    SELECT model FROM contracts
    UNION DISTINCT
    SELECT model FROM progress
) AS known
LEFT JOIN
(
    SELECT
        model,
        argMax(state.watermark, state.record_seq) AS watermark,
        argMax(state.sealed_until, state.record_seq) AS sealed_until,
        argMax(state.updated_at, state.record_seq) AS updated_at
    FROM progress AS state FINAL
    GROUP BY model
) AS position USING (model)
LEFT JOIN
(
    SELECT model, version, maxIf(pane_start + pane_s, n > 0) AS last_traffic_at, max(pane_start + pane_s) AS last_counted_at
    FROM volume
    WHERE slice = 'all'
    GROUP BY model, version
) AS counted USING (model)
COMMENT 'Freshness of each model that has a contract or has been read, models of drills included. Times are 1970 until data arrives.';

CREATE VIEW IF NOT EXISTS model_freshness
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model; empty if no prediction has been counted',
    last_traffic_at DateTime('UTC') COMMENT 'End of the last pane in which the version made predictions; 1970 if there is none',
    last_counted_at DateTime('UTC') COMMENT 'End of the last counted pane, including panes without traffic',
    watermark DateTime64(3, 'UTC') COMMENT 'Event time up to which everything has been read; 1970 until every source partition has a watermark',
    sealed_until DateTime64(3, 'UTC') COMMENT 'Event time up to which verdicts are final, apart from late events',
    traffic_age_s Int64 COMMENT 'Seconds from last_traffic_at to now',
    sealed_age_s Int64 COMMENT 'Seconds from sealed_until to now: the minimum age of the newest final verdict',
    updated_at DateTime64(3, 'UTC') COMMENT 'Time of the monitor''s last update'
)

AS SELECT * FROM all_model_freshness WHERE NOT startsWith(model, 'drill.')
COMMENT 'Freshness of each model that has a contract or has been read, without models of drills. Times are 1970 until data arrives.';

CREATE VIEW IF NOT EXISTS lost_ranges
(
    source_partition UInt16 COMMENT 'Partition of the predictions topic that the offsets belong to',
    start_offset UInt64 COMMENT 'First lost offset',
    end_offset UInt64 COMMENT 'First offset after the range',
    offsets UInt64 COMMENT 'Number of lost offsets: an upper bound of the lost messages, because transaction markers have offsets too',
    from_time DateTime64(3, 'UTC') COMMENT 'Earliest event time that may have been lost',
    to_time DateTime64(3, 'UTC') COMMENT 'First event time after the range',
    reason LowCardinality(String) COMMENT 'Reason of the loss',
    recorded_at DateTime64(3, 'UTC') COMMENT 'Time at which the loss was first recorded',
    epoch UInt16 COMMENT 'Incarnation of the partials topic'
)
AS
SELECT
    source_partition,
    start_offset,
    end_offset,
    end_offset - start_offset AS offsets,
    min(loss.from_time) AS from_time,
    max(loss.to_time) AS to_time,
    argMin(loss.reason, loss.recorded_at) AS reason,
    min(loss.recorded_at) AS recorded_at,
    epoch
FROM losses AS loss FINAL
GROUP BY source_partition, epoch, start_offset, end_offset
COMMENT 'Ranges of source offsets whose events are in no pane, each once.';

CREATE VIEW IF NOT EXISTS silence
(
    model LowCardinality(String) COMMENT 'Model',
    state LowCardinality(String) COMMENT 'active, quiet (no traffic, but a gap of that length is usual), silent (no traffic for an unusually long time) or never (no traffic was ever counted)',
    silent_s Int64 COMMENT 'Seconds since the end of the last pane with predictions of any version; -1 if there is none. It also grows while predictions are not counted: see sealed_age_s',
    last_traffic_at DateTime('UTC') COMMENT 'End of the last pane with predictions; 1970 if there is none',
    usual_n Float64 COMMENT 'Median of predictions per pane in the 7 days before last_traffic_at, including panes without traffic; 0 if that is more than 14 days ago',
    usual_gap_s UInt32 COMMENT 'Longest gap without predictions in those 7 days',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    sealed_until DateTime64(3, 'UTC') COMMENT 'Event time up to which no more predictions are expected; 1970 if none was read',
    sealed_age_s Int64 COMMENT 'Seconds from sealed_until to now; if far above the usual, predictions may have arrived without being counted yet'
)
AS
SELECT
    known.model AS model,
    multiIf(
        traffic.last_traffic_at = 0, 'never',
        silent_s <= 120 OR silent_s * week.usual_n < 7 * week.pane_s AND silent_s <= week.pane_s, 'active',
        silent_s * week.usual_n >= 7 * week.pane_s OR silent_s > week.usual_gap_s + week.pane_s, 'silent',
        'quiet'
    ) AS state,
    if(traffic.last_traffic_at = 0, -1, greatest(0, dateDiff('second', traffic.last_traffic_at, now('UTC')))) AS silent_s,
    traffic.last_traffic_at AS last_traffic_at,
    week.usual_n AS usual_n,
    week.usual_gap_s AS usual_gap_s,
    traffic.pane_s AS pane_s,
    position.sealed_until AS sealed_until,
    dateDiff('second', position.sealed_until, now('UTC')) AS sealed_age_s
FROM
(
    SELECT model FROM contracts WHERE NOT startsWith(model, 'drill.')
    UNION DISTINCT
    SELECT model FROM progress WHERE NOT startsWith(model, 'drill.')
) AS known
LEFT JOIN
(
    SELECT model, maxIf(pane.pane_start + pane.pane_s, pane.n > 0) AS last_traffic_at, any(pane.pane_s) AS pane_s
    FROM volume AS pane
    WHERE slice = 'all'
    GROUP BY model
) AS traffic ON known.model = traffic.model
LEFT JOIN
(
    SELECT
        model,
        any(summed.pane_s) AS pane_s,
        quantileExactInclusive(0.5)(summed.n) AS usual_n,
        arraySort(groupArrayIf(toUnixTimestamp(summed.pane_start), summed.n > 0)) AS busy,
        if(length(busy) > 1, greatest(0, arrayMax(arrayPopFront(arrayDifference(busy))) - any(summed.pane_s)), 0) AS usual_gap_s
    FROM
    (
        SELECT *, maxIf(pane_start, n > 0) OVER (PARTITION BY model) AS last_busy
        FROM
        (
            SELECT model, pane_start, any(pane.pane_s) AS pane_s, sum(pane.n) AS n
            FROM volume AS pane FINAL
            WHERE slice = 'all' AND pane_start >= now('UTC') - INTERVAL 14 DAY
            GROUP BY model, pane_start
        )
    ) AS summed
    WHERE summed.pane_start <= last_busy AND summed.pane_start > last_busy - INTERVAL 7 DAY
    GROUP BY model
) AS week ON known.model = week.model
LEFT JOIN
(
    SELECT model, argMax(state.sealed_until, state.record_seq) AS sealed_until
    FROM progress AS state FINAL
    GROUP BY model
) AS position ON known.model = position.model
COMMENT 'Whether each model receives its usual traffic, without models of drills. Uses wall-clock time, so replayed history counts as silent.';
