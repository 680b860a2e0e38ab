"""Decoders of Kafka messages into event columns."""
