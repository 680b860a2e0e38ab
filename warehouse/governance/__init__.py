"""Tables of changes, their ranking, lineage and explored predictions."""
