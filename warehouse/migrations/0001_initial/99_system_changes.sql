-- Changes, readers, and the changes that may have caused a major verdict.
--
-- Barograph derives most changes from other tables, so `changes` has only those that no other table records: changes of
-- prompts, and outside changes that people and deployment jobs report. The view all_changes adds the derived ones.
--
-- suspected_causes is written by the guard after a verdict became major. Each verdict has the same number of rows, so that
-- a repeated computation replaces all of them; those beyond the changes found have no kind.

CREATE TABLE IF NOT EXISTS changes
(
    changed_at DateTime64(3, 'UTC') COMMENT 'Time of the change',
    kind LowCardinality(String) COMMENT 'Kind of the change: prompt-version, prompt-label, prompt-rollback, or that of a reported change, such as deploy',
    model LowCardinality(String) COMMENT 'Model that it concerns; empty if it may concern every model',
    subject String COMMENT 'What changed, such as the prompt answer, its label answer:production, or the job of an upstream source; empty if the kind says it',
    before String COMMENT 'Value before the change, such as a version; empty if there was none',
    after String COMMENT 'Value from the change on, such as a version or a Git commit',
    source LowCardinality(String) COMMENT 'Source that changed, by its name in `sources` of contracts; empty if it is none',
    owner String COMMENT 'People to ask about it; empty if unknown',
    reason String COMMENT 'Reason given for the change; of a contract, the lines that changed; empty if there is none',
    changed_by String COMMENT 'Who made the change; empty if unknown'
)
ENGINE = ReplacingMergeTree
ORDER BY (changed_at, kind, model, subject, source, after)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Changes of prompts, and changes that were reported with `barograph changes`. Kept forever. The view all_changes adds those of other tables.';

CREATE TABLE IF NOT EXISTS readers
(
    observed_at DateTime64(3, 'UTC') COMMENT 'Time of the observation; rows of one observation have the same',
    kind LowCardinality(String) COMMENT 'group (of Kafka), user (of ClickHouse), dashboard or rule (of Grafana), or caller (of a model)',
    name String COMMENT 'Name of the group, user or caller, or uid of the dashboard or rule',
    reads Array(String) COMMENT 'Topics, tables and views that it reads; of a caller, the models that it calls',
    columns Array(String) COMMENT 'Columns that a user reads, as table.column',
    first DateTime64(3, 'UTC') COMMENT 'Its first read in the range of the observation; 1970 if unknown',
    last DateTime64(3, 'UTC') COMMENT 'Its last read; 1970 if unknown',
    volume UInt64 COMMENT 'Messages, queries or predictions that it read; 0 if unknown',
    origin String COMMENT 'Where it reads from: client ids and hosts, addresses, producers, or the title of a dashboard or rule',
    is_declared Bool COMMENT 'Whether a contract declares it in consumers'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(observed_at)
ORDER BY (observed_at, kind, name)
TTL toDateTime(observed_at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Readers of topics, tables and dashboards, as `barograph consumers --store` observed them; kept for 400 days.';

CREATE TABLE IF NOT EXISTS suspected_causes
(
    model LowCardinality(String) COMMENT 'Model',
    field LowCardinality(String) COMMENT 'Field whose verdict became major',
    signal LowCardinality(String) COMMENT 'psi, or the kind of the rate',
    version LowCardinality(String) COMMENT 'Version of the model',
    window LowCardinality(String) COMMENT 'Window of the verdict, such as 1h',
    window_end DateTime('UTC') COMMENT 'End of the first window that was major',
    rank UInt16 COMMENT 'Rank of the change, from 1',
    onset DateTime('UTC') COMMENT 'Most likely start of the move of the field, from its panes; 1970 if no start is in the range of the panes',
    onset_low DateTime('UTC') COMMENT 'Start of the 95 % interval of the onset',
    onset_high DateTime('UTC') COMMENT 'End of the 95 % interval of the onset',
    changed_at DateTime64(3, 'UTC') COMMENT 'Time of the change; 1970 if no change is recorded in the range',
    kind LowCardinality(String) COMMENT 'Kind of the change, as in all_changes; empty if there is none of this rank',
    subject String COMMENT 'What changed',
    before String COMMENT 'Value before the change',
    after String COMMENT 'Value from the change on',
    source LowCardinality(String) COMMENT 'Source that changed; empty if it is none',
    owner String COMMENT 'People to ask about it; empty if unknown',
    relation LowCardinality(String) COMMENT 'own source (feeds the field), model, unknown (no contract relates it to the field) or other source (feeds other fields only)',
    timing LowCardinality(String) COMMENT 'at onset, before (earlier than the interval), or after (the field had moved already)',
    likelihood LowCardinality(String) COMMENT 'likely (own source or model, at the onset), possible or unlikely',
    text String COMMENT 'The change and the onset as a sentence',
    computed_at DateTime64(3, 'UTC') COMMENT 'Time of the computation'
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(window_end)
ORDER BY (model, field, signal, version, window, window_end, rank)
TTL window_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Changes before each verdict that became major, ranked as its causes; kept for 750 days of event time. Read the view likely_causes.';
