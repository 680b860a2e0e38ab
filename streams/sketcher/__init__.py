"""The sketcher: aggregates every event into per-pane counts and sketches."""
