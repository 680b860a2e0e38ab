"""Panes and verdicts of a stretch of the past counted anew from their source."""
