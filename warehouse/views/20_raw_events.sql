-- Predictions and labels.
--
-- Views with DEFINER read raw rows with the privileges of the user that ran `barograph apply`, and return no raw row, so
-- that users without access to raw rows can read them, such as Grafana.

CREATE OR REPLACE VIEW all_predictions
(
    model, version, id, at, received_at, arm, context, numbers, strings, nulls, score, class, scores, metrics, latency_ms,
    status, error, partition, offset, message_index
)
FROM predictions FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Predictions, one row per event. Filter by model and a range of at.';

CREATE OR REPLACE VIEW latest_labels
(
    model, id,
    label ALIAS argMax(revision.label, (revision.at, epoch, offset, message_index)),
    label_type ALIAS argMax(revision.label_type, (revision.at, epoch, offset, message_index)),
    labelled_at DateTime64(3, 'UTC') ALIAS max(revision.at) COMMENT 'Event time at which the ground truth became known',
    label_received_at DateTime64(3, 'UTC') ALIAS argMax(revision.received_at, (revision.at, epoch, offset, message_index)) COMMENT 'Received time: Kafka''s timestamp of the label',
    label_count UInt64 ALIAS count() COMMENT 'Number of labels of the prediction'
)
FROM labels AS revision FINAL
GROUP BY model, id
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'The effective label of each prediction: the one with the latest time, then the latest offset in Kafka.';

CREATE OR REPLACE VIEW label_times
(
    model, at, received_at
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
FROM labels
COMMENT 'When labels arrived, without their ids and values, for users that may not read labels. Filter by model and a range of received_at.';

CREATE OR REPLACE VIEW topic_counts
(
    model, version,
    hour DateTime('UTC') ALIAS toStartOfHour(at) COMMENT 'Start of the hour of event time',
    topic String ALIAS strings['topic'] COMMENT 'Topic of the prompt by the codebook of the contract; new if the prompt is far from every topic',
    n UInt64 ALIAS uniqExact(id) COMMENT 'Recorded predictions; one that was recorded twice counts once'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
FROM predictions
WHERE topic != ''
GROUP BY model, version, hour, topic
COMMENT 'Topics of prompts per hour, from raw predictions, for users that may not read these. Filter by model and a range of hour.';

CREATE OR REPLACE VIEW labelled_predictions
(
    model ALIAS event.model,
    version ALIAS event.version,
    id ALIAS event.id,
    at ALIAS event.at,
    received_at ALIAS event.received_at,
    arm ALIAS event.arm,
    context ALIAS event.context,
    numbers ALIAS event.numbers,
    strings ALIAS event.strings,
    nulls ALIAS event.nulls,
    score ALIAS event.score,
    class ALIAS event.class,
    scores ALIAS event.scores,
    metrics ALIAS event.metrics,
    latency_ms ALIAS event.latency_ms,
    status ALIAS event.status,
    error ALIAS event.error,
    labelled Bool ALIAS truth.label_count > 0 COMMENT 'Whether a label has arrived',
    label ALIAS truth.label COMMENT 'The ground truth as text; empty if no label has arrived',
    label_type ALIAS truth.label_type COMMENT 'Type of the label: bool, number or string; empty if no label has arrived',
    labelled_at ALIAS truth.labelled_at COMMENT 'Event time at which the ground truth became known; 1970 if no label has arrived'
)
FROM all_predictions AS event
LEFT JOIN latest_labels AS truth ON event.model = truth.model AND event.id = truth.id
COMMENT 'Predictions with their effective label; unlabelled predictions are included. Filter by model and a range of at.';

CREATE OR REPLACE VIEW duplicates
(
    model, version,
    hour DateTime('UTC') COMMENT 'Hour of event time of the predictions',
    counted UInt64 COMMENT 'Predictions of the hour by volume; panes longer than an hour count in their first hour',
    recorded UInt64 COMMENT 'Raw predictions recorded for the hour',
    ids UInt64 COMMENT 'Distinct ids among the recorded predictions',
    repeats Nullable(UInt64) COMMENT 'recorded - ids; NULL (unknown) if predictions were counted but none recorded',
    repeat_rate Nullable(Float64) COMMENT 'repeats / recorded; also valid for a recorded share, because predictions of one id are recorded or skipped together',
    raw_share Float64 COMMENT 'Share of predictions that the current contract records'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    hourly.model AS model,
    hourly.version AS version,
    hourly.hour AS hour,
    hourly.counted AS counted,
    hourly.recorded AS recorded,
    hourly.ids AS ids,
    if(hourly.recorded = 0 AND hourly.counted > 0, NULL, hourly.recorded - hourly.ids) AS repeats,
    repeats / hourly.recorded AS repeat_rate,
    if(contract.model = '', 1, contract.raw_share) AS raw_share
FROM
(
    SELECT model, version, hour, sum(source.counted) AS counted, sum(source.recorded) AS recorded, sum(source.ids) AS ids
    FROM
    (
        SELECT model, version, toStartOfHour(raw.at, 'UTC') AS hour, 0 AS counted, count() AS recorded, uniqExact(raw.id) AS ids
        FROM predictions AS raw FINAL
        GROUP BY model, version, hour
        UNION ALL
        SELECT model, version, toStartOfHour(pane.pane_start) AS hour, sum(pane.n) AS counted, 0 AS recorded, 0 AS ids
        FROM volume AS pane FINAL
        WHERE slice = 'all' AND pane.n > 0
        GROUP BY model, version, hour
    ) AS source
    GROUP BY model, version, hour
) AS hourly
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
) AS contract ON hourly.model = contract.model
COMMENT 'Duplicate predictions: the same id of the same version in one hour, counted in raw events. Filter by model and a range of hours.';
