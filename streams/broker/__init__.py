"""Kafka access shared by the processors: clients, transactions, consumer lag, ACLs."""
