-- Prompts, as `barograph prompts` registered them.

CREATE TABLE IF NOT EXISTS prompts
(
    name LowCardinality(String) COMMENT 'Name of the prompt',
    version UInt32 COMMENT 'Version, counted for each name from 1; predictions name it as name@version',
    content_hash String COMMENT 'SHA-256 of the content of the file, in hexadecimal',
    template String COMMENT 'Text with placeholders; of a chat, the messages as JSON' CODEC(ZSTD(3)),
    is_chat Bool COMMENT 'Whether template has the messages of a chat',
    variables Array(String) COMMENT 'Names of the variables',
    config String COMMENT 'Settings of the model as JSON' CODEC(ZSTD(3)),
    owner String COMMENT 'Who is responsible',
    parent UInt32 COMMENT 'Version that this one was made from; 0 if the file names none',
    description String COMMENT 'What the prompt is for, and what changed',
    origin LowCardinality(String) COMMENT 'Format of the file: file, mlflow or langfuse',
    registered_by String COMMENT 'Who registered it',
    registered_at DateTime64(3, 'UTC') COMMENT 'Time at which it was registered'
)
ENGINE = ReplacingMergeTree
ORDER BY (name, version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every registered version of a prompt; kept forever.';

CREATE TABLE IF NOT EXISTS prompt_labels
(
    name LowCardinality(String) COMMENT 'Name of the prompt',
    label LowCardinality(String) COMMENT 'Label, such as production',
    sequence UInt64 COMMENT 'Number of the change; each change of a label has a higher one than the change before',
    version UInt32 COMMENT 'Version that the label points to from this change on',
    previous UInt32 COMMENT 'Version that it pointed to before; 0 if the label is new',
    is_rollback Bool COMMENT 'Whether the change is a rollback',
    reason String COMMENT 'Reason given for the change',
    changed_by String COMMENT 'Who made the change',
    changed_at DateTime64(3, 'UTC') COMMENT 'Time of the change'
)
ENGINE = ReplacingMergeTree
ORDER BY (name, label, sequence)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every change of a label of a prompt; the one with the highest sequence is in force. Kept forever.';
