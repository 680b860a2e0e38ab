"""Kafka and ClickHouse as child processes, for development, the demo and tests."""
