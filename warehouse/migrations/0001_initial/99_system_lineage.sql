-- Lineage: the graph from sources to consumers that each applied contract declares.

CREATE TABLE IF NOT EXISTS lineage
(
    model LowCardinality(String) COMMENT 'Model',
    contract_id String COMMENT 'Hash of the content of the contract',
    applied_at DateTime64(3, 'UTC') COMMENT 'Time at which the contract was applied; the latest rows of a model are in effect',
    position UInt16 COMMENT 'Position of the node in the picture: by kind, then from top to bottom',
    node String COMMENT 'Id of the node: its kind and its name, such as field:temp',
    kind LowCardinality(String) COMMENT 'Kind of the node: source, field (input of the model), model, output (field that the model returns, or a metric) or consumer',
    title String COMMENT 'Name of the source, field, model or consumer; no declared source for fields that no source declares',
    detail String COMMENT 'System of a source, type of a field, serving version of the model, or how a consumer reads; empty if not stated',
    owner String COMMENT 'People to ask about it; empty if the contract names nobody',
    upstream Array(String) COMMENT 'Ids of the nodes from which an edge leads to this one'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, applied_at, contract_id, position)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Lineage that each applied contract declares, one row per node; kept forever. The view latest_lineage has the graphs in effect.';
