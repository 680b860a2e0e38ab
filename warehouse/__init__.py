"""ClickHouse: connection, numbered migrations, writes, and the named queries of processors, dashboards and rules."""
