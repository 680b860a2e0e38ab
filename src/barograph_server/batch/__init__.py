"""Two tables instead of streams: comparison, skew, checks of rows, and backfill of history."""
