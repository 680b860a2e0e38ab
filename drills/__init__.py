"""Drills: faults injected into recorded events on purpose, to prove that alerts fire and serving falls back."""
