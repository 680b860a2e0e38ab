"""Health checks: the HTTP endpoint and the watchdog."""
