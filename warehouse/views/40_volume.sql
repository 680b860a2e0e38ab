CREATE OR REPLACE VIEW all_volume
(
    model, version, baseline_id, slice, pane_start,
    pane_end DateTime('UTC') ALIAS pane_start + pane_s COMMENT 'End of the pane in event time, exclusive',
    pane_s, n, errors,
    error_rate Float64 ALIAS errors / n COMMENT 'errors / n; NaN if n is 0',
    timed, slow,
    slow_share Float64 ALIAS slow / timed COMMENT 'slow / timed; NaN if timed is 0',
    late, sealed, unregistered
)
FROM volume FINAL
COMMENT 'Predictions, failures and slow responses per slice and pane, one row each, including panes without traffic.';

CREATE OR REPLACE VIEW volume_by_hour
(
    model, version, slice,
    hour DateTime('UTC') ALIAS toStartOfHour(pane.pane_start) COMMENT 'Start of the hour in event time; for panes longer than an hour, start of the pane',
    requests UInt64 ALIAS sum(pane.n) COMMENT 'Predictions, including failed ones; an hour without traffic has a row with 0 in the slice all',
    errors ALIAS sum(pane.errors),
    error_rate Float64 ALIAS sum(pane.errors) / sum(pane.n) COMMENT 'errors / requests; NaN if requests is 0',
    timed ALIAS sum(pane.timed),
    slow ALIAS sum(pane.slow),
    slow_share Float64 ALIAS sum(pane.slow) / sum(pane.timed) COMMENT 'slow / timed; NaN if timed is 0',
    late ALIAS sum(pane.late) COMMENT 'Late predictions, which arrived after their pane was sealed; requests includes them',
    sealed ALIAS min(pane.sealed) COMMENT 'Whether all panes of the hour are sealed'
)
FROM volume AS pane FINAL
GROUP BY model, version, slice, hour
COMMENT 'Predictions, failures and slow responses per slice and hour. Filter by model, slice and a range of hours.';

CREATE OR REPLACE VIEW errors_by_kind
(
    model, version, baseline_id, slice, kind, pane_start,
    pane_end DateTime('UTC') ALIAS pane_start + pane_s COMMENT 'End of the pane in event time, exclusive',
    pane_s,
    n ALIAS sum(batch.n) COMMENT 'Predictions that failed with this error; the sum over all kinds is errors of all_volume'
)
FROM errors AS batch FINAL
GROUP BY model, version, baseline_id, slice, kind, pane_s, pane_start
COMMENT 'Failed predictions by kind of error, per pane, for all events and per arm.';

CREATE OR REPLACE VIEW all_violations
(
    model, version, baseline_id, field, kind, pane_start,
    pane_end DateTime('UTC') ALIAS pane_start + pane_s COMMENT 'End of the pane in event time, exclusive',
    pane_s, n, total,
    share Float64 ALIAS n / total COMMENT 'n / total',
    policy
)
FROM violations FINAL
COMMENT 'Contract violations per field and pane, one row each; a pane without violations has no row.';

CREATE OR REPLACE VIEW dead_letters
(
    topic, model, reason, hour,
    n ALIAS sum(batch.n) COMMENT 'Dead-lettered events; each is in the topic predictions.dead or labels.dead'
)
FROM dead_letter_counts AS batch FINAL
GROUP BY topic, model, reason, hour
COMMENT 'Number of dead-lettered events by model, reason and hour of receipt.';

CREATE OR REPLACE VIEW producer_gaps
(
    model, producer,
    models UInt64 COMMENT 'Number of models that this producer publishes for; with more than one, gaps cannot be attributed to a model',
    first_at DateTime('UTC') COMMENT 'Start of the producer''s first pane in the last 30 days, or when its process began to publish, if that is known and earlier',
    last_at DateTime('UTC') COMMENT 'End of the producer''s last pane, or its last heartbeat, if that is later',
    state LowCardinality(String) COMMENT 'ended: its farewell arrived; silent: no event and no heartbeat for 10 minutes, so it ended without a farewell or is idle; otherwise live',
    queued COMMENT 'Events, labels included, that waited in the process at its last heartbeat; 0 without a heartbeat',
    received UInt64 COMMENT 'Events of the producer in Kafka, including dead-lettered events, except those of unknown models',
    start_seq Int64 COMMENT 'First expected seq: 0, or the smallest of the last 30 days if the producer started earlier',
    first_seq COMMENT 'Smallest received seq, or one more than that of the last heartbeat, if that is smaller',
    last_seq COMMENT 'Largest known seq: of a received event, or of the last heartbeat if that is a farewell or 10 minutes old',
    lost Nullable(Int64) COMMENT 'last_seq + 1 - start_seq - received: events published but not in Kafka, or removed by retention before they were read; NULL if the producer publishes for several models, negative if events were duplicated',
    lost_share Nullable(Float64) COMMENT 'lost / (lost + received)',
    unattributed UInt64 COMMENT 'Events of the model in panes with more than 1,000 producers, whose producer is unknown; lost overestimates by at most this number'
)
AS
SELECT
    traffic.model AS model,
    traffic.producer AS producer,
    greatest(shared.models, 1) AS models,
    traffic.first_at AS first_at,
    traffic.last_at AS last_at,
    multiIf(traffic.ended, 'ended', traffic.last_at < now('UTC') - INTERVAL 10 MINUTE, 'silent', 'live') AS state,
    traffic.queued AS queued,
    traffic.received AS received,
    if(traffic.first_at < now('UTC') - INTERVAL 29 DAY, traffic.first_seq, 0) AS start_seq,
    traffic.first_seq AS first_seq,
    traffic.last_seq AS last_seq,
    if(models > 1, NULL, traffic.last_seq + 1 - start_seq - toInt64(traffic.received)) AS lost,
    lost / (traffic.last_seq + 1 - start_seq) AS lost_share,
    others.n AS unattributed
FROM
(
    SELECT
        model,
        producer,
        min(since) AS first_at,
        max(at) AS last_at,
        sum(n) AS received,
        min(batch.first_seq) AS first_seq,
        max(batch.last_seq) AS last_seq,
        max(batch.queued) AS queued,
        max(batch.ended) AS ended
    FROM
    (
        SELECT
            model, producer, pane_start AS since, pane_start + pane_s AS at, n, first_seq, last_seq,
            0 AS queued, false AS ended
        FROM producers FINAL
        WHERE last_seq >= 0 AND pane_start >= now('UTC') - INTERVAL 30 DAY
        UNION ALL
        SELECT
            model, producer, since, at, 0, last_seq + 1,
            if(ended OR at < now('UTC') - INTERVAL 10 MINUTE, last_seq, -1), queued, ended
        FROM heartbeats FINAL
        WHERE at >= now('UTC') - INTERVAL 30 DAY
    ) AS batch
    GROUP BY model, producer
) AS traffic
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
) AS shared ON traffic.producer = shared.producer
LEFT JOIN
(
    SELECT model, sum(n) AS n
    FROM producers FINAL
    WHERE producer = 'other' AND last_seq < 0 AND pane_start >= now('UTC') - INTERVAL 30 DAY
    GROUP BY model
) AS others ON traffic.model = others.model
COMMENT 'Losses before Kafka: sequence numbers missing per model and producer over the last 30 days. Events without producer and seq are not included. Filter by model.';

CREATE OR REPLACE VIEW producer_panes
(
    model, producer,
    pane_start COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s,
    received UInt64 COMMENT 'Events of the producer and pane in Kafka',
    first_seq COMMENT 'Smallest seq in the pane',
    last_seq COMMENT 'Largest seq in the pane; a last heartbeat that is a farewell or 10 minutes old is a row of its own, with 0 received',
    missing Int64 COMMENT 'Growth of the largest seq so far, minus received; negative if a pane''s events have a seq that an earlier pane already passed. The sum over all panes is lost of producer_gaps'
)
AS
SELECT
    model,
    producer,
    batch.pane_start AS pane_start,
    batch.pane_start + batch.pane_s AS pane_end,
    batch.pane_s AS pane_s,
    batch.received AS received,
    batch.first_seq AS first_seq,
    batch.last_seq AS last_seq,
    greatest(before, batch.last_seq) - before - toInt64(batch.received) AS missing
FROM
(
    SELECT
        *,
        if(
            count() OVER earlier > 0,
            max(last_seq) OVER earlier,
            if(min(since) OVER whole < now('UTC') - INTERVAL 29 DAY, min(first_seq) OVER whole, 0) - 1
        ) AS before
    FROM
    (
        SELECT
            model,
            producer,
            pane_start AS since,
            pane_start,
            pane_s,
            sum(n) AS received,
            min(batch.first_seq) AS first_seq,
            max(batch.last_seq) AS last_seq
        FROM producers AS batch FINAL
        WHERE batch.last_seq >= 0 AND pane_start >= now('UTC') - INTERVAL 30 DAY
        GROUP BY model, producer, pane_s, pane_start
        UNION ALL
        SELECT model, producer, since, at, 0, 0, last_seq + 1, last_seq
        FROM heartbeats FINAL
        WHERE (ended OR at < now('UTC') - INTERVAL 10 MINUTE) AND at >= now('UTC') - INTERVAL 30 DAY
    )
    WINDOW
        whole AS (PARTITION BY model, producer),
        earlier AS (PARTITION BY model, producer ORDER BY pane_start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) AS batch
COMMENT 'Losses before Kafka over time: per model, producer and pane of the last 30 days. Filter by model.';

CREATE OR REPLACE VIEW producer_totals
(
    model, producer,
    models UInt64 COMMENT 'Number of models that this producer publishes for; with more than one, gaps cannot be attributed to a model',
    first_at DateTime('UTC') COMMENT 'Start of the producer''s first retained pane, or when its process began to publish, if that is known and earlier',
    last_at DateTime('UTC') COMMENT 'End of the producer''s last pane, or its last heartbeat, if that is later',
    state LowCardinality(String) COMMENT 'ended, silent or live, as in producer_gaps',
    queued COMMENT 'Events, labels included, that waited in the process at its last heartbeat; 0 without a heartbeat',
    received UInt64 COMMENT 'Events of the producer in Kafka; a repeated write counts twice until the next merge',
    lost Nullable(Int64) COMMENT 'Lower bound of the events published but not in Kafka, or removed by retention before they were read; NULL if the producer publishes for several models, negative if events were duplicated',
    lost_share Nullable(Float64) COMMENT 'lost / (lost + received)'
)
AS
SELECT
    model,
    producer,
    count() OVER (PARTITION BY producer) AS models,
    first_at,
    last_at,
    multiIf(ended, 'ended', last_at < now('UTC') - INTERVAL 10 MINUTE, 'silent', 'live') AS state,
    queued,
    received,
    if(models > 1, NULL, last_seq + 1 - start_seq - toInt64(received)) AS lost,
    lost / (last_seq + 1 - start_seq) AS lost_share
FROM
(
    SELECT
        model,
        producer,
        min(since) AS first_at,
        max(at) AS last_at,
        sum(n) AS received,
        max(batch.last_seq) AS last_seq,
        max(batch.queued) AS queued,
        max(batch.ended) AS ended,
        if(first_at < now('UTC') - INTERVAL 29 DAY, min(batch.first_seq), 0) AS start_seq
    FROM
    (
        SELECT
            model,
            producer,
            minIf(pane_start, batch.last_seq >= 0) AS since,
            maxIf(pane_start + pane_s, batch.last_seq >= 0) AS at,
            sumIf(n, batch.last_seq >= 0) AS n,
            minIf(batch.first_seq, batch.last_seq >= 0) AS first_seq,
            maxIf(batch.last_seq, batch.last_seq >= 0) AS last_seq,
            0 AS queued,
            false AS ended
        FROM producers AS batch
        GROUP BY model, producer
        HAVING at >= now('UTC') - INTERVAL 30 DAY
        UNION ALL
        SELECT
            model, producer, since, at, 0, last_seq + 1,
            if(ended OR at < now('UTC') - INTERVAL 10 MINUTE, last_seq, -1), queued, ended
        FROM heartbeats FINAL
        WHERE at >= now('UTC') - INTERVAL 30 DAY
    ) AS batch
    GROUP BY model, producer
)
COMMENT 'Losses before Kafka of all models at once: a fast lower bound. Use producer_gaps for the exact loss of one model.';
