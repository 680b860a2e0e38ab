"""The contracts and baselines in force, polled from ClickHouse."""
