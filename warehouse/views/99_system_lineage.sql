CREATE OR REPLACE VIEW latest_lineage
(
    model, position, node, kind, title, detail, owner, upstream
)
FROM lineage FINAL
WHERE (model, applied_at) IN (SELECT model, max(applied_at) FROM lineage GROUP BY model)
COMMENT 'Lineage of each model, as the contract in effect declares it: edges lead from each id in upstream to node.';
