-- Volume, the golden signal: latency within the promise, errors by kind, losses before Kafka, duplicates, dead letters,
-- silence, and values that break the contract.
--
-- What is counted beside the panes (errors, producers, dead_counts) has a row per record of the partials topic: record_seq stands
-- in the sorting key, so a record that is read again replaces its rows and never adds to them. Sums are taken in views.

ALTER TABLE volume ADD COLUMN IF NOT EXISTS timed UInt64 COMMENT 'Predictions with a valid latency; 0 where the contract says nothing of latency' CODEC(T64, ZSTD(1)) AFTER errors;

ALTER TABLE volume ADD COLUMN IF NOT EXISTS slow UInt64 COMMENT 'Predictions whose latency is over slo.latency_ms of the contract; 0 where it promises none' CODEC(T64, ZSTD(1)) AFTER timed;

CREATE TABLE IF NOT EXISTS errors
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that the model is read from',
    model LowCardinality(String) COMMENT 'Model that was asked',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in force for the pane',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or arm=value where the contract slices by arm',
    kind String COMMENT 'Kind of error as the event says it, at most 200 characters; other is what goes beyond 50 kinds of one flush' CODEC(ZSTD(1)),
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time; it ends, exclusive, after pane_s' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Predictions of the flush that failed in this way' CODEC(T64, ZSTD(1)),
    record_seq UInt64 COMMENT 'Place in the partials topic of the record that counted them: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, slice, kind, pane_s, pane_start, partials_partition, record_seq)
TTL pane_start + INTERVAL 430 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Failed predictions by kind of error per pane, a row per record that counted some; kept for 430 days of event time. The view errors_by_kind adds them up.';

CREATE TABLE IF NOT EXISTS producers
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that the model is read from',
    model LowCardinality(String) COMMENT 'Model that the events are of',
    producer String COMMENT 'Publisher that wrote them, at most 200 characters; other is what goes beyond 1,000 producers of one flush' CODEC(ZSTD(1)),
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time; of an event that was put aside, in received time' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Distinct seq among the events of the flush, those that were put aside included' CODEC(T64, ZSTD(1)),
    first_seq Int64 COMMENT 'Least seq of them, -1 for other' CODEC(Delta, ZSTD(1)),
    last_seq Int64 COMMENT 'Greatest seq of them, -1 for other' CODEC(Delta, ZSTD(1)),
    record_seq UInt64 COMMENT 'Place in the partials topic of the record that counted them: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1)),
    PROJECTION last_heard (SELECT model, producer, maxIf(pane_start, last_seq >= 0) GROUP BY model, producer)
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, producer, pane_s, pane_start, partials_partition, record_seq)
TTL pane_start + INTERVAL 30 DAY
SETTINGS deduplicate_merge_projection_mode = 'rebuild', fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What arrived of each producer per pane, a row per record that counted some; kept for 30 days of event time. The views producer_gaps and producer_panes say what is missing.';

CREATE TABLE IF NOT EXISTS dead_counts
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that held the count',
    topic LowCardinality(String) COMMENT 'Where the events were read from: predictions or labels',
    model LowCardinality(String) COMMENT 'Model that the events are of, empty where it is not known',
    reason LowCardinality(String) COMMENT 'Reason code of the dead letters',
    hour DateTime('UTC') COMMENT 'Hour in which Kafka received the events' CODEC(Delta, ZSTD(1)),
    n UInt64 COMMENT 'Events that one flush put aside' CODEC(T64, ZSTD(1)),
    record_seq UInt64 COMMENT 'Place in the partials topic of the record that counted them: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(hour)
ORDER BY (topic, model, reason, hour, partials_partition, record_seq)
TTL hour + INTERVAL 430 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Dead letters by reason and hour, a row per record that counted some; kept for 430 days from receipt. The view dead_letters adds them up.';

CREATE TABLE IF NOT EXISTS violations
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that the model is read from',
    model LowCardinality(String) COMMENT 'Model whose contract was broken',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in force for the pane',
    field LowCardinality(String) COMMENT 'Field of the contract',
    kind LowCardinality(String) COMMENT 'null (where the contract refuses nulls), invalid, below or above (where it sets that limit), unseen (a class that label.classes does not name)',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time; it ends, exclusive, after pane_s' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Values that broke the contract, never 0' CODEC(T64, ZSTD(1)),
    of UInt64 COMMENT 'Values of the field in the pane, null and invalid ones included' CODEC(T64, ZSTD(1)),
    policy LowCardinality(String) COMMENT 'What the contract asks publishers to do with such a value: flag or reject',
    record_seq UInt64 COMMENT 'Place in the partials topic of the last record that changed the row: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, field, kind, pane_s, pane_start)
TTL pane_start + INTERVAL 430 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Values that broke the contract per field and pane, over all events; kept for 430 days of event time. Older states of a row can linger until the next merge: read the view all_violations.';

CREATE OR REPLACE VIEW all_volume
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in force for the pane',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Predictions, failed ones included; 0 is silence and has a row',
    errors UInt64 COMMENT 'Predictions that failed',
    error_rate Float64 COMMENT 'errors / n, NaN where n is 0',
    timed UInt64 COMMENT 'Predictions with a valid latency',
    slow UInt64 COMMENT 'Predictions whose latency is over slo.latency_ms',
    slow_share Float64 COMMENT 'slow / timed, NaN where timed is 0',
    late UInt64 COMMENT 'Predictions that came after the pane was sealed; they are in n too',
    sealed Bool COMMENT 'Whether no event for the pane is expected any more',
    unregistered Bool COMMENT 'Whether the version has no baseline of its own'
)
AS
SELECT
    model,
    version,
    baseline_id,
    slice,
    pane_start,
    pane_start + pane_s AS pane_end,
    pane_s,
    n,
    errors,
    errors / n AS error_rate,
    timed,
    slow,
    slow / timed AS slow_share,
    late,
    sealed,
    unregistered
FROM volume FINAL
COMMENT 'Predictions, failures and slow answers per slice and pane, one row of each, silence included.';

CREATE VIEW IF NOT EXISTS volume_by_hour
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    hour DateTime('UTC') COMMENT 'Start of the hour in event time; of panes longer than an hour, of the pane',
    requests UInt64 COMMENT 'Predictions, failed ones included; 0 is silence and has a row in the slice all',
    errors UInt64 COMMENT 'Predictions that failed',
    error_rate Float64 COMMENT 'errors / requests, NaN where there were none',
    timed UInt64 COMMENT 'Predictions with a valid latency',
    slow UInt64 COMMENT 'Predictions whose latency is over slo.latency_ms',
    slow_share Float64 COMMENT 'slow / timed, NaN where timed is 0',
    late UInt64 COMMENT 'Predictions that came after their pane was sealed; they are in requests too',
    sealed Bool COMMENT 'Whether all panes of the hour that have a row are sealed'
)
AS
SELECT
    model,
    version,
    slice,
    toStartOfHour(pane.pane_start) AS hour,
    sum(pane.n) AS requests,
    sum(pane.errors) AS errors,
    sum(pane.errors) / sum(pane.n) AS error_rate,
    sum(pane.timed) AS timed,
    sum(pane.slow) AS slow,
    sum(pane.slow) / sum(pane.timed) AS slow_share,
    sum(pane.late) AS late,
    min(pane.sealed) AS sealed
FROM volume AS pane FINAL
GROUP BY model, version, slice, hour
COMMENT 'Predictions, failures and slow answers per slice and hour. Give a model, a slice and a range of hours.';

CREATE VIEW IF NOT EXISTS errors_by_kind
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in force for the pane',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or arm=value where the contract slices by arm',
    kind String COMMENT 'Kind of error as the event says it, at most 200 characters; other is what goes beyond 50 kinds of one flush',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Predictions that failed in this way; over all kinds they add up to errors of all_volume'
)
AS
SELECT
    model,
    version,
    baseline_id,
    slice,
    kind,
    pane_start,
    pane_start + pane_s AS pane_end,
    pane_s,
    sum(counted.n) AS n
FROM errors AS counted FINAL
GROUP BY model, version, baseline_id, slice, kind, pane_s, pane_start
COMMENT 'Failed predictions by kind of error, per pane, for all events and per arm.';

CREATE VIEW IF NOT EXISTS all_violations
(
    model LowCardinality(String) COMMENT 'Model whose contract was broken',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in force for the pane',
    field LowCardinality(String) COMMENT 'Field of the contract',
    kind LowCardinality(String) COMMENT 'null, invalid, below, above, or unseen (a class that label.classes does not name)',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Values that broke the contract, never 0',
    of UInt64 COMMENT 'Values of the field in the pane, null and invalid ones included',
    share Float64 COMMENT 'n / of',
    policy LowCardinality(String) COMMENT 'What the contract asks publishers to do with such a value: flag or reject'
)
AS
SELECT
    model,
    version,
    baseline_id,
    field,
    kind,
    pane_start,
    pane_start + pane_s AS pane_end,
    pane_s,
    n,
    of,
    n / of AS share,
    policy
FROM violations FINAL
COMMENT 'Values that broke the contract per field and pane, one row of each; a pane without any has none.';

CREATE VIEW IF NOT EXISTS dead_letters
(
    topic LowCardinality(String) COMMENT 'Where the events were read from: predictions or labels',
    model LowCardinality(String) COMMENT 'Model that the events are of, empty where it is not known',
    reason LowCardinality(String) COMMENT 'Reason code of the dead letters',
    hour DateTime('UTC') COMMENT 'Hour in which Kafka received the events',
    n UInt64 COMMENT 'Events that were put aside; each stands in the topic predictions.dead or labels.dead'
)
AS
SELECT
    topic,
    model,
    reason,
    hour,
    sum(counted.n) AS n
FROM dead_counts AS counted FINAL
GROUP BY topic, model, reason, hour
COMMENT 'Events that were put aside, by model, reason and hour of receipt.';

CREATE VIEW IF NOT EXISTS producer_gaps
(
    model LowCardinality(String) COMMENT 'Model that the events are of',
    producer String COMMENT 'Publisher that wrote them',
    models UInt64 COMMENT 'Models that this producer writes events of: over more than one a gap cannot be told',
    first_at DateTime('UTC') COMMENT 'Start of the first pane of the last 30 days in which it was heard',
    last_at DateTime('UTC') COMMENT 'End of the last pane in which it was heard',
    received UInt64 COMMENT 'Its events that Kafka took, those that were put aside included',
    since_seq Int64 COMMENT 'The seq that its events are counted from: 0, or the least of the last 30 days where it began before',
    first_seq Int64 COMMENT 'Least seq that came',
    last_seq Int64 COMMENT 'Greatest seq that came',
    lost Nullable(Int64) COMMENT 'last_seq + 1 - since_seq - received: published and not in Kafka, or overtaken by its retention; NULL where the producer writes several models, negative where events came twice',
    lost_share Nullable(Float64) COMMENT 'lost / (lost + received)',
    uncounted UInt64 COMMENT 'Events of the model in panes of more than 1,000 producers, of which it is not known whose they are: lost is too large by at most so many'
)
AS
SELECT
    heard.model AS model,
    heard.producer AS producer,
    shared.models AS models,
    heard.first_at AS first_at,
    heard.last_at AS last_at,
    heard.received AS received,
    if(heard.first_at < now('UTC') - INTERVAL 29 DAY, heard.first_seq, 0) AS since_seq,
    heard.first_seq AS first_seq,
    heard.last_seq AS last_seq,
    if(shared.models > 1, NULL, heard.last_seq + 1 - since_seq - toInt64(heard.received)) AS lost,
    lost / (heard.last_seq + 1 - since_seq) AS lost_share,
    others.n AS uncounted
FROM
(
    SELECT
        model,
        producer,
        min(pane_start) AS first_at,
        max(pane_start + pane_s) AS last_at,
        sum(n) AS received,
        min(seen.first_seq) AS first_seq,
        max(seen.last_seq) AS last_seq
    FROM producers AS seen FINAL
    WHERE seen.last_seq >= 0 AND pane_start >= now('UTC') - INTERVAL 30 DAY
    GROUP BY model, producer
) AS heard
LEFT JOIN
(
    SELECT producer, count() AS models
    FROM
    (
        SELECT model, producer, maxIf(pane_start, last_seq >= 0) AS last_at
        FROM producers
        GROUP BY model, producer
    )
    WHERE last_at >= now('UTC') - INTERVAL 30 DAY
    GROUP BY producer
) AS shared ON heard.producer = shared.producer
LEFT JOIN
(
    SELECT model, sum(n) AS n
    FROM producers FINAL
    WHERE producer = 'other' AND last_seq < 0 AND pane_start >= now('UTC') - INTERVAL 30 DAY
    GROUP BY model
) AS others ON heard.model = others.model
COMMENT 'What was lost before Kafka: per model and producer, the numbers that its events skip, over the last 30 days. Events without producer and seq are not in it. Give a model.';

CREATE VIEW IF NOT EXISTS producer_panes
(
    model LowCardinality(String) COMMENT 'Model that the events are of',
    producer String COMMENT 'Publisher that wrote them',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    received UInt64 COMMENT 'Its events of the pane that Kafka took',
    first_seq Int64 COMMENT 'Least seq of the pane',
    last_seq Int64 COMMENT 'Greatest seq of the pane',
    missing Int64 COMMENT 'By how much the greatest seq so far grew, less received: negative where events of a pane came with a seq that a pane before it had passed; over all panes they add up to lost of producer_gaps'
)
AS
SELECT
    model,
    producer,
    counted.pane_start AS pane_start,
    counted.pane_start + counted.pane_s AS pane_end,
    counted.pane_s AS pane_s,
    counted.received AS received,
    counted.first_seq AS first_seq,
    counted.last_seq AS last_seq,
    greatest(before, counted.last_seq) - before - toInt64(counted.received) AS missing
FROM
(
    SELECT
        *,
        if(
            count() OVER earlier > 0,
            max(last_seq) OVER earlier,
            if(pane_start < now('UTC') - INTERVAL 29 DAY, min(first_seq) OVER (PARTITION BY model, producer), 0) - 1
        ) AS before
    FROM
    (
        SELECT
            model,
            producer,
            pane_start,
            pane_s,
            sum(n) AS received,
            min(seen.first_seq) AS first_seq,
            max(seen.last_seq) AS last_seq
        FROM producers AS seen FINAL
        WHERE seen.last_seq >= 0 AND pane_start >= now('UTC') - INTERVAL 30 DAY
        GROUP BY model, producer, pane_s, pane_start
    )
    WINDOW earlier AS (PARTITION BY model, producer ORDER BY pane_start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) AS counted
COMMENT 'When events went missing before Kafka: per model, producer and pane, over the last 30 days. Give a model.';

CREATE VIEW IF NOT EXISTS duplicates
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    hour DateTime('UTC') COMMENT 'Hour of event time in which the predictions were made',
    counted UInt64 COMMENT 'Predictions that volume counts in the hour; of panes longer than an hour all in their first',
    kept UInt64 COMMENT 'Raw predictions that are kept of the hour',
    ids UInt64 COMMENT 'Distinct ids among those that are kept',
    repeats Nullable(UInt64) COMMENT 'kept - ids; NULL where predictions were counted and none is kept: then it is not known',
    repeat_rate Nullable(Float64) COMMENT 'repeats / kept; where a share is kept it is the rate of all, since those of one id are kept or left out together',
    raw_share Float64 COMMENT 'Share of raw predictions that the contract in force keeps'
)
AS
SELECT
    found.model AS model,
    found.version AS version,
    found.hour AS hour,
    found.counted AS counted,
    found.kept AS kept,
    found.ids AS ids,
    if(found.kept = 0 AND found.counted > 0, NULL, found.kept - found.ids) AS repeats,
    repeats / found.kept AS repeat_rate,
    if(applied.model = '', 1, applied.raw_share) AS raw_share
FROM
(
    SELECT model, version, hour, sum(every.counted) AS counted, sum(every.kept) AS kept, sum(every.ids) AS ids
    FROM
    (
        SELECT model, version, toStartOfHour(raw.at, 'UTC') AS hour, 0 AS counted, count() AS kept, uniqExact(raw.id) AS ids
        FROM predictions AS raw FINAL
        GROUP BY model, version, hour
        UNION ALL
        SELECT model, version, toStartOfHour(pane.pane_start) AS hour, sum(pane.n) AS counted, 0 AS kept, 0 AS ids
        FROM volume AS pane FINAL
        WHERE slice = 'all' AND pane.n > 0
        GROUP BY model, version, hour
    ) AS every
    GROUP BY model, version, hour
) AS found
LEFT JOIN
(
    SELECT
        model,
        multiIf(
            match(argMax(yaml, applied_at), '(?m)^raw:\\s*none'), 0,
            match(argMax(yaml, applied_at), '(?m)^raw:\\s*\\{?\\s*share:'),
            toFloat64OrZero(extract(argMax(yaml, applied_at), '(?m)^raw:\\s*\\{?\\s*share:\\s*([0-9.eE+-]+)')),
            1
        ) AS raw_share
    FROM contracts
    GROUP BY model
) AS applied ON found.model = applied.model
COMMENT 'Predictions that came twice: the same id of the same version in one hour, counted in raw events. Give a model and a range of hours.';

CREATE VIEW IF NOT EXISTS silence
(
    model LowCardinality(String) COMMENT 'Name of the model',
    state LowCardinality(String) COMMENT 'active, quiet (nothing came, and that has happened for as long in the week before), silent (nothing came, and that is not usual) or never (nothing was ever counted)',
    silent_s Int64 COMMENT 'Seconds since the end of the last pane with predictions, all versions together; -1 where there is none. It also grows while predictions are not counted: see sealed_age_s',
    last_traffic_at DateTime('UTC') COMMENT 'End of the last pane with predictions; 1970 where there is none',
    usual_n Float64 COMMENT 'Median of predictions per pane in the 7 days before last_traffic_at, silent panes included; 0 where that is longer ago than 14 days',
    usual_gap_s UInt32 COMMENT 'Longest time without predictions in those 7 days',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    sealed_until DateTime64(3, 'UTC') COMMENT 'Event time up to which no more predictions are expected; 1970 where none was read',
    sealed_age_s Int64 COMMENT 'Seconds from sealed_until to now: where it is far more than usual, predictions may have come and not been counted yet'
)
AS
SELECT
    known.model AS model,
    multiIf(
        heard.last_traffic_at = 0, 'never',
        silent_s <= 120 OR silent_s * week.usual_n < 7 * week.pane_s AND silent_s <= week.pane_s, 'active',
        silent_s * week.usual_n >= 7 * week.pane_s OR silent_s > week.usual_gap_s + week.pane_s, 'silent',
        'quiet'
    ) AS state,
    if(heard.last_traffic_at = 0, -1, greatest(0, dateDiff('second', heard.last_traffic_at, now('UTC')))) AS silent_s,
    heard.last_traffic_at AS last_traffic_at,
    week.usual_n AS usual_n,
    week.usual_gap_s AS usual_gap_s,
    heard.pane_s AS pane_s,
    read.sealed_until AS sealed_until,
    dateDiff('second', read.sealed_until, now('UTC')) AS sealed_age_s
FROM
(
    SELECT model FROM contracts
    UNION DISTINCT
    SELECT model FROM progress
) AS known
LEFT JOIN
(
    SELECT model, maxIf(pane.pane_start + pane.pane_s, pane.n > 0) AS last_traffic_at, any(pane.pane_s) AS pane_s
    FROM volume AS pane
    WHERE slice = 'all'
    GROUP BY model
) AS heard ON known.model = heard.model
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
) AS read ON known.model = read.model
COMMENT 'Whether each model is asked as it usually is: none that nobody asks looks healthy here. On the clock of the wall, so that replayed history is silent.';
