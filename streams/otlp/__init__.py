"""Telemetry of language models in the OpenTelemetry protocol (OTLP) → predictions."""
