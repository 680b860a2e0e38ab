-- Runs of judges on their anchors: the bank of the release, and the later runs that are compared with it.

CREATE TABLE IF NOT EXISTS anchor_runs
(
    model LowCardinality(String) COMMENT 'Answering model, whose contract has the judge',
    evaluator LowCardinality(String) COMMENT 'Judge, as the contract names it',
    evaluator_version LowCardinality(String) COMMENT 'Hash of all that decides a verdict; runs of two versions are not compared',
    anchors_hash LowCardinality(String) COMMENT 'Hash of the anchors; runs on two sets of anchors are not compared',
    run_id String COMMENT 'Identifier of the run; of a scheduled one, a hash of the columns before and of the start of its period',
    at DateTime64(3, 'UTC') COMMENT 'Time at which the run was complete',
    kind LowCardinality(String) COMMENT 'bank: made at the release; run: a later one',
    anchors UInt32 COMMENT 'Anchors that were judged',
    right UInt32 COMMENT 'Verdicts that are those of people',
    no_result UInt32 COMMENT 'Anchors without a verdict, as after failed calls. Above 0, the run is left out of the evidence',
    verdicts Map(String, LowCardinality(String)) COMMENT 'Anchor -> faulty or sound; anchors without a verdict are missing',
    wrong Array(String) COMMENT 'Anchors whose verdict is not that of people',
    log_e Float64 COMMENT 'Logarithm of the e-value of drift after this run; NaN without a comparison, and for a judge whose bank never varies',
    has_drifted Bool COMMENT 'Whether the e-value has reached 50, or a verdict of a judge whose bank never varies has changed, at this run or before',
    runs_left UInt32 COMMENT 'Runs of the bank that are not used yet'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, evaluator, evaluator_version, anchors_hash, run_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Runs of judges on frozen anchors, by which their drift is found. Kept forever.';
