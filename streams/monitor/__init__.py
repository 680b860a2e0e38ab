"""The monitor: merges partials into panes, seals panes, rolls them up, and judges windows."""
