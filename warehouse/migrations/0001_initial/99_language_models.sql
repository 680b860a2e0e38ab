-- Language models: facts of inference servers, what contracts state about costs and deployments, and views of calls.
--
-- serving_facts has values of the metrics endpoints of servers, beside the spans of applications. Its counters are of the
-- whole server, so that adding them to what spans count would count twice. cost_settings and deployments have what applied
-- contracts state; latest_deployments has the descriptions in effect. The views model_costs, user_costs and call_times sum
-- raw predictions.

CREATE TABLE IF NOT EXISTS serving_facts
(
    model LowCardinality(String) COMMENT 'Model that the server serves, from the settings',
    instance LowCardinality(String) COMMENT 'Host and port of the endpoint',
    name LowCardinality(String) COMMENT 'Name of the fact, such as waiting_requests or ttft_ms; up is 1 if the scrape succeeded, restarts is 1 if the server started again',
    label LowCardinality(String) COMMENT 'For finished_requests and failed_requests the reason, if the server has one; else empty',
    at DateTime64(3, 'UTC') COMMENT 'Time of the scrape' CODEC(Delta, ZSTD(1)),
    server LowCardinality(String) COMMENT 'Kind of server that the metric belongs to: vllm, sglang, tgi, trtllm, triton or llamacpp; empty if the scrape failed',
    kind LowCardinality(String) COMMENT 'gauge: the value at this time; counter: what was added; histogram: the mean of what was added; ratio: what was added to one counter, divided by what was added to another',
    unit LowCardinality(String) COMMENT 'Unit of value: requests, tokens, ms or share; empty for up and restarts',
    value Float64 COMMENT 'The value' CODEC(ZSTD(1)),
    n Float64 COMMENT 'For a histogram its observations, for a ratio its denominator; else 0' CODEC(ZSTD(1)),
    total Float64 COMMENT 'For a histogram the sum of its observations, for a ratio its numerator; else 0' CODEC(ZSTD(1)),
    interval_s Float64 COMMENT 'Seconds over which counters, histograms and ratios grew; 0 for a gauge' CODEC(ZSTD(1)),
    bucket_ends Array(Float64) COMMENT 'For a histogram the upper limits of its buckets, the last infinite; else empty' CODEC(ZSTD(1)),
    bucket_counts Array(UInt64) COMMENT 'Observations in each bucket, not cumulative' CODEC(ZSTD(1)),
    p50_low Float64 COMMENT 'Lower limit of the bucket that holds the median; NaN without buckets' CODEC(ZSTD(1)),
    p50_high Float64 COMMENT 'Upper limit of this bucket, infinite for the last one; the median is between the two' CODEC(ZSTD(1)),
    p95_low Float64 COMMENT 'The same for the 95th percentile' CODEC(ZSTD(1)),
    p95_high Float64 COMMENT 'The same for the 95th percentile' CODEC(ZSTD(1)),
    p99_low Float64 COMMENT 'The same for the 99th percentile' CODEC(ZSTD(1)),
    p99_high Float64 COMMENT 'The same for the 99th percentile' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(at)
ORDER BY (model, name, instance, label, at)
TTL toDateTime(at) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'What inference servers report about themselves, per scrape; kept for 90 days. A fact without a row was not observed. A repeated write can leave duplicate rows until the next merge: read with FINAL.';

CREATE TABLE IF NOT EXISTS cost_settings
(
    model LowCardinality(String) COMMENT 'Model',
    contract_id String COMMENT 'Hash of the content of the contract',
    budget_day Float64 COMMENT 'Budget of a day of UTC in US dollars; NaN if there is none',
    budget_month Float64 COMMENT 'Budget of a month of UTC in US dollars; NaN if there is none',
    user_member String COMMENT 'Member of context that names the user; empty if the contract names none',
    applied_at DateTime64(3, 'UTC') COMMENT 'Time at which the contract was applied; the latest row of a model is in effect'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, applied_at, contract_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Budget and user of each applied contract; kept forever.';

CREATE TABLE IF NOT EXISTS deployments
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version that is described',
    quantisation LowCardinality(String) COMMENT 'Number format of the weights: AWQ, GPTQ, INT4, INT8, FP8, FP16, BF16 or none; empty if not stated',
    speculative_decoding String COMMENT 'What drafts tokens; empty if not stated',
    continuous_batching LowCardinality(String) COMMENT 'yes or no; empty if not stated',
    gpu String COMMENT 'Accelerators; empty if not stated',
    engine String COMMENT 'Inference server and its version; empty if not stated',
    notes String COMMENT 'Further facts, for people',
    contract_id String COMMENT 'Hash of the content of the contract that has the description',
    applied_at DateTime64(3, 'UTC') COMMENT 'Time at which the contract was applied'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, applied_at, version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Descriptions of served versions of each applied contract; kept forever. The view latest_deployments has those in effect.';

CREATE VIEW IF NOT EXISTS latest_deployments
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version that is described',
    quantisation LowCardinality(String) COMMENT 'Number format of the weights; empty if not stated',
    speculative_decoding String COMMENT 'What drafts tokens; empty if not stated',
    continuous_batching LowCardinality(String) COMMENT 'yes or no; empty if not stated',
    gpu String COMMENT 'Accelerators; empty if not stated',
    engine String COMMENT 'Inference server and its version; empty if not stated',
    notes String COMMENT 'Further facts, for people'
)
AS
SELECT model, version, quantisation, speculative_decoding, continuous_batching, gpu, engine, notes
FROM deployments FINAL
WHERE (model, applied_at) IN (SELECT model, max(applied_at) FROM cost_settings GROUP BY model)
COMMENT 'How versions are served, as the contract in effect describes them.';

CREATE VIEW IF NOT EXISTS model_costs
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version that answered',
    prompt String COMMENT 'Prompt and its version, such as answer@7; empty if the call names none',
    hour DateTime('UTC') COMMENT 'Start of the hour of event time',
    calls UInt64 COMMENT 'Calls, failed ones included; a call that was recorded twice counts once',
    answered UInt64 COMMENT 'Calls that did not fail',
    with_tokens UInt64 COMMENT 'Answered calls whose input and output tokens were observed',
    with_cost UInt64 COMMENT 'Answered calls whose cost was observed or computed; if it is less than answered, cost is a lower bound',
    input_tokens Float64 COMMENT 'Input tokens, where observed',
    cached_input_tokens Float64 COMMENT 'Input tokens that were read from a cache, where observed',
    cacheable_tokens Float64 COMMENT 'Input tokens of the calls whose cached tokens were observed',
    output_tokens Float64 COMMENT 'Output tokens, where observed',
    cost Float64 COMMENT 'Cost in US dollars, where observed or computed; failed calls included'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    model,
    version,
    prompt,
    hour,
    count() AS calls,
    countIf(is_answered) AS answered,
    countIf(is_answered AND isNotNull(numbers.1) AND isNotNull(numbers.2)) AS with_tokens,
    countIf(is_answered AND isNotNull(numbers.4)) AS with_cost,
    ifNull(sum(numbers.1), 0) AS input_tokens,
    ifNull(sum(numbers.3), 0) AS cached_input_tokens,
    ifNull(sumIf(numbers.1, isNotNull(numbers.3)), 0) AS cacheable_tokens,
    ifNull(sum(numbers.2), 0) AS output_tokens,
    ifNull(sum(numbers.4), 0) AS cost
FROM
(
    SELECT
        model,
        version,
        toStartOfHour(call.at) AS hour,
        any(toString(call.context['prompt'])) AS prompt,
        any(call.error = '') AS is_answered,
        any((
            call.metrics['input_tokens'],
            call.metrics['output_tokens'],
            call.metrics['cached_input_tokens'],
            call.metrics['cost_usd']
        )) AS numbers
    FROM predictions AS call FINAL
    GROUP BY model, version, hour, id
)
GROUP BY model, version, prompt, hour
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Calls, tokens and costs of language models per hour, version and prompt, from raw predictions, which are kept for 90 days. Filter by model and a range of hour. Without id, context or features, for users that may not read raw rows.';

CREATE VIEW IF NOT EXISTS user_costs
(
    model LowCardinality(String) COMMENT 'Model; only those whose contract names user',
    user String COMMENT 'Value of the member of context that the contract names; empty if the call has none',
    hour DateTime('UTC') COMMENT 'Start of the hour of event time',
    calls UInt64 COMMENT 'Calls, failed ones included',
    answered UInt64 COMMENT 'Calls that did not fail',
    with_cost UInt64 COMMENT 'Answered calls whose cost was observed or computed',
    cost Float64 COMMENT 'Cost in US dollars, where observed or computed; failed calls included'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    model,
    user,
    hour,
    count() AS calls,
    countIf(is_answered) AS answered,
    countIf(is_answered AND isNotNull(call_cost)) AS with_cost,
    ifNull(sum(call_cost), 0) AS cost
FROM
(
    SELECT
        model,
        toStartOfHour(call.at) AS hour,
        any(toString(call.context[setting.member])) AS user,
        any(call.error = '') AS is_answered,
        any(tuple(call.metrics['cost_usd'])).1 AS call_cost
    FROM predictions AS call FINAL
    INNER JOIN
    (
        SELECT model, argMax(user_member, applied_at) AS member FROM cost_settings GROUP BY model HAVING member != ''
    ) AS setting ON call.model = setting.model
    GROUP BY model, hour, version, id
)
GROUP BY model, user, hour
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Costs of language models per user and hour, from raw predictions, which are kept for 90 days. Filter by model and a range of hour.';

CREATE VIEW IF NOT EXISTS call_times
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version that answered',
    hour DateTime('UTC') COMMENT 'Start of the hour of event time',
    part String COMMENT 'queue, prefill, decode, ttft or time_per_output_token',
    n UInt64 COMMENT 'Calls whose time in this part was observed',
    total_ms Float64 COMMENT 'Sum of these times in milliseconds'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT model, version, toStartOfHour(call.at) AS hour, time.1 AS part, count() AS n, sum(assumeNotNull(time.2)) AS total_ms
FROM predictions AS call FINAL
ARRAY JOIN
    [
        ('queue', call.metrics['queue_ms']),
        ('prefill', call.metrics['prefill_ms']),
        ('decode', call.metrics['decode_ms']),
        ('ttft', call.metrics['ttft_ms']),
        ('time_per_output_token', call.metrics['time_per_output_token_ms'])
    ] AS time
WHERE isNotNull(time.2)
GROUP BY model, version, hour, part
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Times of the parts of calls of language models per hour, where spans have them, from raw predictions, which are kept for 90 days. Filter by model and a range of hour.';

CREATE VIEW IF NOT EXISTS evaluations
(
    evaluator_model LowCardinality(String) COMMENT 'Model of the evaluations: MODEL.EVALUATOR',
    model LowCardinality(String) COMMENT 'Model that answered',
    evaluator LowCardinality(String) COMMENT 'Evaluator, as the contract names it',
    evaluator_version LowCardinality(String) COMMENT 'Hash of what decides the result: rules, rubric, judge, files; none if the evaluator could not be set up',
    kind LowCardinality(String) COMMENT 'check or judge',
    id String COMMENT 'Identifier of the answer: the prediction with this id',
    at DateTime64(3, 'UTC') COMMENT 'Event time of the answer',
    version LowCardinality(String) COMMENT 'Version of the model that answered',
    prompt LowCardinality(String) COMMENT 'Name and version of the prompt, such as answer@7; empty if there is none',
    arm LowCardinality(String) COMMENT 'Arm of the answer; empty if there is none',
    class LowCardinality(String) COMMENT 'faulty or sound; empty without a result',
    score Float64 COMMENT 'Score of the evaluator; NaN if it has none',
    error LowCardinality(String) COMMENT 'Why there is no result, or why the answer was skipped; empty if there is one, or if the check is undecided',
    share Float64 COMMENT 'Probability with which the answer was chosen, among those with text',
    latency_ms Float64 COMMENT 'Duration of the evaluation in milliseconds',
    tokens Float64 COMMENT 'Input and output tokens of the judge',
    cost_usd Float64 COMMENT 'Cost of the judge in US dollars',
    claims Map(LowCardinality(String), Float64) COMMENT 'Claims of the answer by the result of their citation: supported, altered, unsupported, unknown_source; empty for other evaluators',
    label LowCardinality(String) COMMENT 'What people say: faulty or sound; empty without a label'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    event.model AS evaluator_model,
    left(event.model, length(event.model) - length(evaluator) - 1) AS model,
    arrayElement(splitByChar('.', event.model), -1) AS evaluator,
    event.version AS evaluator_version,
    event.context['kind'] AS kind,
    event.id,
    event.at,
    event.context['version'] AS version,
    event.context['prompt'] AS prompt,
    event.arm,
    event.class,
    event.score,
    if(event.error = '', event.status, event.error) AS error,
    toFloat64OrZero(event.context['sample']) AS share,
    event.latency_ms,
    ifNull(event.metrics['input_tokens'], 0) + ifNull(event.metrics['output_tokens'], 0) AS tokens,
    ifNull(event.metrics['cost_usd'], 0) AS cost_usd,
    mapApply(
        (name, value) -> (replaceOne(name, 'claims_', ''), ifNull(value, 0)),
        mapFilter((name, value) -> startsWith(name, 'claims_'), event.metrics)
    ) AS claims,
    -- All forms of a flag: publishers send `true` for faulty.
    multiIf(
        lower(trimBoth(event.label)) IN ('faulty', 'true', '1', '1.0', 'yes', 'y', 't'), 'faulty',
        lower(trimBoth(event.label)) IN ('sound', 'false', '0', '0.0', 'no', 'n', 'f'), 'sound',
        ''
    ) AS label
FROM labelled_predictions AS event
WHERE event.context['kind'] IN ('check', 'judge')
COMMENT 'Evaluations of answers by checks and judges, with the labels of people, and without text. An answer that was published twice can have two rows. Filter by evaluator_model and a range of at.';

CREATE VIEW IF NOT EXISTS evaluation_counts
(
    evaluator_model LowCardinality(String) COMMENT 'Model of the evaluations: MODEL.EVALUATOR',
    model LowCardinality(String) COMMENT 'Model that answered',
    evaluator LowCardinality(String) COMMENT 'Evaluator, as the contract names it',
    evaluator_version LowCardinality(String) COMMENT 'Hash of what decides the result',
    hour DateTime('UTC') COMMENT 'Start of the hour of event time of the answers',
    kind LowCardinality(String) COMMENT 'check or judge',
    prompt LowCardinality(String) COMMENT 'Name and version of the prompt, such as answer@7; empty if there is none',
    share Float64 COMMENT 'Probability with which the answers were chosen, among those with text',
    class LowCardinality(String) COMMENT 'faulty or sound; empty without a result',
    score Float64 COMMENT 'Score of the evaluator, rounded to hundredths; NaN if it has none',
    error LowCardinality(String) COMMENT 'Why there is no result, or why the answers were skipped; empty if there is one, or if the check is undecided',
    label LowCardinality(String) COMMENT 'What people say: faulty or sound; empty without a label',
    n UInt64 COMMENT 'Answers; one that was evaluated twice counts once, with its result',
    cost_usd Float64 COMMENT 'Cost of the judge in US dollars',
    latencies Map(UInt32, UInt64) COMMENT 'Answers by the duration of their evaluation in milliseconds, rounded up to the next of 50 steps per power of ten; without those whose duration is not known',
    claims Map(LowCardinality(String), Float64) COMMENT 'Claims of the answers by the result of their citation'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    evaluator_model,
    model,
    evaluator,
    evaluator_version,
    hour,
    result.1 AS kind,
    result.2 AS prompt,
    result.3 AS share,
    result.4 AS class,
    result.5 AS score,
    result.6 AS error,
    result.7 AS label,
    count() AS n,
    sum(result.8) AS cost_usd,
    sumMapIf(map(toUInt32(exp10(ceil(log10(greatest(result.9, 1)) * 50) / 50)), toUInt64(1)), result.9 > 0) AS latencies,
    sumMap(result.10) AS claims
FROM
(
    SELECT
        evaluator_model,
        model,
        evaluator,
        evaluator_version,
        toStartOfHour(at) AS hour,
        argMin(
            (
                kind, prompt, share, class, round(score, 2), error, label, cost_usd,
                if(latency_ms > 0, least(latency_ms, 4e9), 0), claims
            ),
            class = ''
        ) AS result
    FROM evaluations
    GROUP BY evaluator_model, model, evaluator, evaluator_version, hour, version, id
)
GROUP BY evaluator_model, model, evaluator, evaluator_version, hour, kind, prompt, share, class, score, error, label
COMMENT 'Evaluations of answers per hour, counted by result and label, for users that may not read single predictions. Filter by evaluator_model and a range of hour.';
