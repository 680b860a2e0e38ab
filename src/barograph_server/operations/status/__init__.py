"""`barograph status`: the state of models and processors, from ClickHouse only."""
