"""Rows that the monitor writes beside verdicts: panes, rollups, tallies, violations."""
