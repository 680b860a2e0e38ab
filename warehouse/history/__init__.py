"""Counts and sums over past ranges of panes and raw rows."""
