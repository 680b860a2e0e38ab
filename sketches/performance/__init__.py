"""Performance metrics computed from counts, with intervals."""
