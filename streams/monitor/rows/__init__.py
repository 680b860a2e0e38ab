"""Rows that the monitor writes in addition to verdicts: panes, rollups, tallies, violations."""
