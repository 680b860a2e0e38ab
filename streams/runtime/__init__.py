"""Runtime of a processor process: signals, exit codes, heartbeats, retries, metrics reports."""
