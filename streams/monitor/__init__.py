"""The monitor: merges parts into panes, seals panes, rolls them into windows and judges these."""
