CREATE OR REPLACE VIEW all_model_freshness
(
    model COMMENT 'Model',
    version ALIAS counted.version COMMENT 'Version of the model; empty if no prediction has been counted',
    last_traffic_at DateTime('UTC') ALIAS counted.last_traffic_at COMMENT 'End of the last pane in which the version made predictions; 1970 if there is none',
    last_counted_at DateTime('UTC') ALIAS counted.last_counted_at COMMENT 'End of the last counted pane, including panes without traffic',
    watermark ALIAS position.watermark COMMENT 'Event time up to which everything has been read; 1970 until every source partition has a watermark',
    sealed_until ALIAS position.sealed_until COMMENT 'Event time up to which verdicts are final, apart from late events',
    traffic_age_s Int64 ALIAS dateDiff('second', counted.last_traffic_at, now('UTC')) COMMENT 'Seconds from last_traffic_at to now',
    sealed_age_s Int64 ALIAS dateDiff('second', position.sealed_until, now('UTC')) COMMENT 'Seconds from sealed_until to now: the minimum age of the newest final verdict',
    updated_at ALIAS position.updated_at,
    traffic_within_s Int64 ALIAS dateDiff('second', counted.last_start, now('UTC')) COMMENT 'Seconds from the start of the pane that ends at last_traffic_at to now: the maximum age of the last prediction'
)
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
    SELECT
        model, version, max(pane_start + pane_s) AS last_counted_at,
        maxIf(pane_start + pane_s, n > 0) AS last_traffic_at, maxIf(pane_start, n > 0) AS last_start
    FROM volume
    WHERE slice = 'all'
    GROUP BY model, version
) AS counted USING (model)
COMMENT 'Freshness of each model that has a contract or has been read, models of drills included. Times are 1970 until data arrives.';

CREATE OR REPLACE VIEW model_freshness
(
    LIKE all_model_freshness
)
AS SELECT * FROM all_model_freshness WHERE NOT startsWith(model, 'drill.')
COMMENT 'Freshness of each model that has a contract or has been read, without models of drills. Times are 1970 until data arrives.';

CREATE OR REPLACE VIEW lost_ranges
(
    source_partition, start_offset, end_offset,
    offsets UInt64 ALIAS end_offset - start_offset COMMENT 'Number of lost offsets: an upper bound of the lost messages, because transaction markers have offsets too',
    from_time ALIAS min(loss.from_time) COMMENT 'Earliest event time that may have been lost',
    to_time ALIAS max(loss.to_time) COMMENT 'First event time after the range',
    reason ALIAS argMin(loss.reason, loss.recorded_at),
    recorded_at ALIAS min(loss.recorded_at) COMMENT 'Time at which the loss was first recorded',
    epoch
)
FROM losses AS loss FINAL
GROUP BY source_partition, epoch, start_offset, end_offset
COMMENT 'Ranges of source offsets whose events are in no pane, each once.';

CREATE OR REPLACE VIEW silence
(
    model ALIAS known.model COMMENT 'Model',
    state LowCardinality(String) ALIAS multiIf(
        traffic.last_traffic_at = 0, 'never',
        silent_s <= 120 OR silent_s * week.usual_n < 7 * week.pane_s AND silent_s <= week.pane_s, 'active',
        silent_s * week.usual_n >= 7 * week.pane_s OR silent_s > week.usual_gap_s + week.pane_s, 'silent',
        'quiet'
    ) COMMENT 'active, quiet (no traffic, but a gap of that length is usual), silent (no traffic for an unusually long time) or never (no traffic was ever counted)',
    silent_s Int64 ALIAS if(traffic.last_traffic_at = 0, -1, greatest(0, dateDiff('second', traffic.last_traffic_at, now('UTC')))) COMMENT 'Seconds since the end of the last pane with predictions of any version; -1 if there is none. It also grows while predictions are not counted: see sealed_age_s',
    last_traffic_at DateTime('UTC') ALIAS traffic.last_traffic_at COMMENT 'End of the last pane with predictions; 1970 if there is none',
    usual_n Float64 ALIAS week.usual_n COMMENT 'Median of predictions per pane in the 7 days before last_traffic_at, including panes without traffic; 0 if that is more than 14 days ago',
    usual_gap_s UInt32 ALIAS week.usual_gap_s COMMENT 'Longest gap without predictions in those 7 days',
    pane_s ALIAS traffic.pane_s,
    sealed_until ALIAS position.sealed_until COMMENT 'Event time up to which no more predictions are expected; 1970 if none was read',
    sealed_age_s Int64 ALIAS dateDiff('second', position.sealed_until, now('UTC')) COMMENT 'Seconds from sealed_until to now; if far above the usual, predictions may have arrived without being counted yet'
)
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
