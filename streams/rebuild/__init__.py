"""Rebuilds panes and verdicts of a past time range from their source."""
