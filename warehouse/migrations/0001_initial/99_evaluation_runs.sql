-- Runs of evaluation suites, as `barograph eval` imported them, and the runs that were accepted.

CREATE TABLE IF NOT EXISTS eval_runs
(
    model LowCardinality(String) COMMENT 'Application that the suite evaluates, such as support-bot',
    suite LowCardinality(String) COMMENT 'Name of the suite',
    suite_version String COMMENT 'Version of the suite; runs of two versions are not compared',
    run_id String COMMENT 'Identifier of the run, from its log',
    version String COMMENT 'Served model that answered',
    prompt String COMMENT 'Prompt and its version, as name@version; empty if the log names none',
    format LowCardinality(String) COMMENT 'Program that wrote the log, such as inspect-ai',
    scorer LowCardinality(String) COMMENT 'Score of the log that was read; runs of two scorers are not compared',
    started_at DateTime64(3, 'UTC') COMMENT 'Time at which the run began',
    items UInt32 COMMENT 'Different items with a score',
    samples UInt32 COMMENT 'Answers with a score: items times epochs',
    unscored UInt32 COMMENT 'Answers without a score, such as those of failed calls',
    mean Float64 COMMENT 'Mean score of all answers, from 0 to 1',
    low Float64 COMMENT 'Lower end of its 95 % interval, clustered by item',
    high Float64 COMMENT 'Upper end of the interval',
    content_hash String COMMENT 'SHA-256 of what was read of the log, in hexadecimal',
    imported_at DateTime64(3, 'UTC') COMMENT 'Time of the import'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, suite, run_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Runs of evaluation suites, written after their items. Kept forever.';

CREATE TABLE IF NOT EXISTS eval_items
(
    run_id String COMMENT 'Run, as in eval_runs',
    item String COMMENT 'Identifier of the item in its suite',
    epoch UInt32 COMMENT 'Repetition of the item, counted from 1',
    score Float64 COMMENT 'Score from 0 to 1',
    class LowCardinality(String) COMMENT 'pass or fail, as the log says; without a statement, pass is a score of 0.5 and more',
    metadata Map(LowCardinality(String), String) COMMENT 'Metadata of the item: numbers, flags and short texts'
)
ENGINE = ReplacingMergeTree
ORDER BY (run_id, item, epoch)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Scores of all answers of a run. Kept forever.';

CREATE TABLE IF NOT EXISTS eval_acceptances
(
    model LowCardinality(String) COMMENT 'Application',
    suite LowCardinality(String) COMMENT 'Name of the suite',
    run_id String COMMENT 'Run that was accepted',
    reason String COMMENT 'Evidence of the decision, as text',
    accepted_by String COMMENT 'Who accepted it',
    accepted_at DateTime64(3, 'UTC') COMMENT 'Time of the decision; the newest run of a suite is what candidates are compared with'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, suite, accepted_at, run_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Accepted runs of evaluation suites. Kept forever.';
