"""Least-privilege access: ACLs of Kafka and roles of ClickHouse, for `plan --acls` and `plan --roles`."""
