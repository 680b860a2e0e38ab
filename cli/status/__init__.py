"""`barograph status`: how the models and the pipeline are, from ClickHouse alone."""
