"""What every processor process needs: signals, exit codes, heartbeats, metrics reports."""
