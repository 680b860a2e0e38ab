CREATE OR REPLACE VIEW latest_deployments
(
    model, version, quantisation, speculative_decoding, continuous_batching, gpu, engine, notes
)
FROM deployments FINAL
WHERE (model, applied_at) IN (SELECT model, max(applied_at) FROM cost_settings GROUP BY model)
COMMENT 'How versions are served, as the contract in effect describes them.';

CREATE OR REPLACE VIEW model_costs
(
    model,
    version COMMENT 'Version that answered',
    prompt String COMMENT 'Prompt and its version, such as answer@7; empty if the call names none',
    hour DateTime('UTC') COMMENT 'Start of the hour of event time',
    calls UInt64 ALIAS count() COMMENT 'Calls, failed ones included; a call that was recorded twice counts once',
    answered UInt64 ALIAS countIf(is_answered) COMMENT 'Calls that did not fail',
    with_tokens UInt64 ALIAS countIf(is_answered AND isNotNull(numbers.1) AND isNotNull(numbers.2)) COMMENT 'Answered calls whose input and output tokens were observed',
    with_cost UInt64 ALIAS countIf(is_answered AND isNotNull(numbers.4)) COMMENT 'Answered calls whose cost was observed or computed; if it is less than answered, cost is a lower bound',
    input_tokens Float64 ALIAS ifNull(sum(numbers.1), 0) COMMENT 'Input tokens, where observed',
    cached_input_tokens Float64 ALIAS ifNull(sum(numbers.3), 0) COMMENT 'Input tokens that were read from a cache, where observed',
    cacheable_tokens Float64 ALIAS ifNull(sumIf(numbers.1, isNotNull(numbers.3)), 0) COMMENT 'Input tokens of the calls whose cached tokens were observed',
    output_tokens Float64 ALIAS ifNull(sum(numbers.2), 0) COMMENT 'Output tokens, where observed',
    cost Float64 ALIAS ifNull(sum(numbers.4), 0) COMMENT 'Cost in US dollars, where observed or computed; failed calls included'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
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

CREATE OR REPLACE VIEW traced_calls
(
    model COMMENT 'Model; only those whose contract has trace_url',
    kind String ALIAS worst.1 COMMENT 'slow, failed or costly: why the call is shown',
    hour DateTime('UTC') COMMENT 'Start of the hour of event time',
    trace_id String ALIAS worst.2.1 COMMENT 'Trace of the call, in hexadecimal',
    at DateTime64(3, 'UTC') ALIAS worst.2.2 COMMENT 'Event time',
    version String ALIAS worst.2.3 COMMENT 'Version that answered',
    error String ALIAS worst.2.4 COMMENT 'Kind of error; empty if the call did not fail',
    latency_ms Nullable(Float64) ALIAS worst.2.5 COMMENT 'Latency in milliseconds; NULL if it was not observed',
    cost Nullable(Float64) ALIAS worst.2.6 COMMENT 'Cost in US dollars; NULL if it is not known'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
FROM
(
    SELECT
        model,
        hour,
        arrayJoin([
            ('slow', argMaxIf(one, one.5, isNotNull(one.5))),
            ('failed', argMaxIf(one, one.2, one.4 != '')),
            ('costly', argMaxIf(one, one.6, isNotNull(one.6)))
        ]) AS worst
    FROM
    (
        SELECT
            model,
            toStartOfHour(call.at) AS hour,
            (
                substring(call.id, 1, 32),
                call.at,
                toString(call.version),
                toString(call.error),
                if(isFinite(call.latency_ms), toNullable(call.latency_ms), NULL),
                call.metrics['cost_usd']
            ) AS one
        FROM predictions AS call FINAL
        WHERE match(call.id, '^[0-9a-f]{32}-[0-9a-f]{16}$')
            AND model IN (SELECT model FROM contracts GROUP BY model HAVING match(argMax(yaml, applied_at), '(?m)^trace_url:'))
    )
    GROUP BY model, hour
)
WHERE worst.2.1 != ''
COMMENT 'Traces of the slowest, the last failed and the most expensive call of each hour, of models whose contract has trace_url, for users that may not read raw rows. Filter by model and a range of hour.';

CREATE OR REPLACE VIEW user_costs
(
    model COMMENT 'Model; only those whose contract names user',
    user String COMMENT 'Value of the member of context that the contract names; empty if the call has none',
    hour DateTime('UTC') COMMENT 'Start of the hour of event time',
    calls UInt64 ALIAS count() COMMENT 'Calls, failed ones included',
    answered UInt64 ALIAS countIf(is_answered) COMMENT 'Calls that did not fail',
    with_cost UInt64 ALIAS countIf(is_answered AND isNotNull(call_cost)) COMMENT 'Answered calls whose cost was observed or computed',
    cost Float64 ALIAS ifNull(sum(call_cost), 0) COMMENT 'Cost in US dollars, where observed or computed; failed calls included'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
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

CREATE OR REPLACE VIEW evaluations
(
    evaluator_model LowCardinality(String) ALIAS event.model COMMENT 'Model of the evaluations: MODEL.EVALUATOR',
    model ALIAS left(event.model, length(event.model) - length(evaluator) - 1) COMMENT 'Model that answered',
    evaluator LowCardinality(String) ALIAS arrayElement(splitByChar('.', event.model), -1) COMMENT 'Evaluator, as the contract names it',
    evaluator_version LowCardinality(String) ALIAS event.version COMMENT 'Hash of what decides the result: rules, rubric, judge, files; none if the evaluator could not be set up',
    kind LowCardinality(String) ALIAS event.context['kind'] COMMENT 'check or judge',
    id ALIAS event.id COMMENT 'Identifier of the answer: the prediction with this id',
    at ALIAS event.at COMMENT 'Event time of the answer',
    version ALIAS event.context['version'] COMMENT 'Version of the model that answered',
    prompt LowCardinality(String) ALIAS event.context['prompt'] COMMENT 'Name and version of the prompt, such as answer@7; empty if there is none',
    arm ALIAS event.arm COMMENT 'Arm of the answer; empty if there is none',
    class ALIAS event.class COMMENT 'faulty or sound; empty without a result',
    score ALIAS event.score COMMENT 'Score of the evaluator; NaN if it has none',
    error ALIAS if(event.error = '', event.status, event.error) COMMENT 'Why there is no result, or why the answer was skipped; empty if there is one, or if the check is undecided',
    share Float64 ALIAS toFloat64OrZero(event.context['sample']) COMMENT 'Probability with which the answer was chosen, among those with text',
    latency_ms ALIAS event.latency_ms COMMENT 'Duration of the evaluation in milliseconds',
    tokens Float64 ALIAS ifNull(event.metrics['input_tokens'], 0) + ifNull(event.metrics['output_tokens'], 0) COMMENT 'Input and output tokens of the judge',
    cost_usd Float64 ALIAS ifNull(event.metrics['cost_usd'], 0) COMMENT 'Cost of the judge in US dollars',
    claims Map(LowCardinality(String), Float64) ALIAS mapApply(
        (name, value) -> (replaceOne(name, 'claims_', ''), ifNull(value, 0)),
        mapFilter((name, value) -> startsWith(name, 'claims_'), event.metrics)
    ) COMMENT 'Claims of the answer by the result of their citation: supported, altered, unsupported, unknown_source; empty for other evaluators',
    label LowCardinality(String) ALIAS -- All forms of a flag: publishers send `true` for faulty.
    multiIf(
        lower(trimBoth(event.label)) IN ('faulty', 'true', '1', '1.0', 'yes', 'y', 't'), 'faulty',
        lower(trimBoth(event.label)) IN ('sound', 'false', '0', '0.0', 'no', 'n', 'f'), 'sound',
        ''
    ) COMMENT 'What people say: faulty or sound; empty without a label'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
FROM labelled_predictions AS event
WHERE event.context['kind'] IN ('check', 'judge')
COMMENT 'Evaluations of answers by checks and judges, with the labels of people, and without text. An answer that was published twice can have two rows. Filter by evaluator_model and a range of at.';

CREATE OR REPLACE VIEW evaluation_counts
(
    evaluator_model, model, evaluator, evaluator_version,
    hour DateTime('UTC') COMMENT 'Start of the hour of event time of the answers',
    kind ALIAS result.1,
    prompt ALIAS result.2,
    share ALIAS result.3,
    class ALIAS result.4,
    score ALIAS result.5 COMMENT 'Score of the evaluator, rounded to hundredths; NaN if it has none',
    error ALIAS result.6,
    label ALIAS result.7,
    n UInt64 ALIAS count() COMMENT 'Answers; one that was evaluated twice counts once, with its result',
    cost_usd ALIAS sum(result.8),
    latencies Map(UInt32, UInt64) ALIAS sumMapIf(map(toUInt32(exp10(ceil(log10(greatest(result.9, 1)) * 50) / 50)), toUInt64(1)), result.9 > 0) COMMENT 'Answers by the duration of their evaluation in milliseconds, rounded up to the next of 50 steps per power of ten; without those whose duration is not known',
    claims ALIAS sumMap(result.10)
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
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
