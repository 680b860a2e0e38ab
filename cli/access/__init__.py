"""Who may do what, as commands for Kafka and SQL for ClickHouse: `plan --acls` and `plan --roles`."""
