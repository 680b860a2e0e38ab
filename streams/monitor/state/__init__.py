"""State of the monitor: panes, merged ranges, the offset ledger, and their storage in ClickHouse."""
