"""Logs of programs that run evaluation suites, each read by one module."""
