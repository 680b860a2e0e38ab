"""Decoders that turn Kafka messages into columns of events."""
