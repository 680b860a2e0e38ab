"""`barograph compare`: compares production data with training data in one process, without Kafka and ClickHouse."""
