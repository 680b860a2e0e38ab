"""ClickHouse: connection, numbered migrations, writes, and named queries."""
