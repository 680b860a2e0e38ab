"""Generated files that are checked in."""
