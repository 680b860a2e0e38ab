-- Losses before Kafka of all models at once, for a dashboard.
--
-- producers has a row per flush: of fifty models in a month seventeen million, whose sum takes a second and stands in the
-- projection already. What a projection cannot tell is whether a row is there twice, which a crash between a write and
-- its acknowledgement leaves until the engine merges the two. So a loss here is a lower bound, and producer_gaps counts
-- one model exactly.

ALTER TABLE producers ADD PROJECTION IF NOT EXISTS totals
(
    SELECT
        model,
        producer,
        minIf(pane_start, last_seq >= 0),
        maxIf(pane_start + pane_s, last_seq >= 0),
        sumIf(n, last_seq >= 0),
        minIf(first_seq, last_seq >= 0),
        maxIf(last_seq, last_seq >= 0)
    GROUP BY model, producer
);

ALTER TABLE producers MATERIALIZE PROJECTION totals;

CREATE VIEW IF NOT EXISTS producer_totals
(
    model LowCardinality(String) COMMENT 'Model that the events are of',
    producer String COMMENT 'Publisher that wrote them',
    models UInt64 COMMENT 'Models that this producer writes events of: over more than one a gap cannot be told',
    first_at DateTime('UTC') COMMENT 'Start of the first pane that is kept of it',
    last_at DateTime('UTC') COMMENT 'End of the last pane in which it was heard',
    received UInt64 COMMENT 'Its events that Kafka took; a write that was repeated counts twice until it is merged',
    lost Nullable(Int64) COMMENT 'At least so many were published and are not in Kafka, or were overtaken by its retention; NULL where the producer writes several models, negative where events came twice',
    lost_share Nullable(Float64) COMMENT 'lost / (lost + received)'
)
AS
SELECT
    model,
    producer,
    count() OVER (PARTITION BY producer) AS models,
    first_at,
    last_at,
    received,
    if(models > 1, NULL, last_seq + 1 - since_seq - toInt64(received)) AS lost,
    lost / (last_seq + 1 - since_seq) AS lost_share
FROM
(
    SELECT
        model,
        producer,
        minIf(pane_start, seen.last_seq >= 0) AS first_at,
        maxIf(pane_start + pane_s, seen.last_seq >= 0) AS last_at,
        sumIf(n, seen.last_seq >= 0) AS received,
        minIf(seen.first_seq, seen.last_seq >= 0) AS least_seq,
        maxIf(seen.last_seq, seen.last_seq >= 0) AS last_seq,
        if(first_at < now('UTC') - INTERVAL 29 DAY, least_seq, 0) AS since_seq
    FROM producers AS seen
    GROUP BY model, producer
    HAVING last_at >= now('UTC') - INTERVAL 30 DAY
)
COMMENT 'What was lost before Kafka, of all models at once: a lower bound, quick. Use producer_gaps for the exact loss of one model.';
