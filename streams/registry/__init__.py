"""Contracts and baselines in force, polled from ClickHouse."""
