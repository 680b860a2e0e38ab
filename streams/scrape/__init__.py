"""Metrics of inference servers (Prometheus endpoints) → rows of `serving_facts`."""
