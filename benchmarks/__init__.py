"""Benchmarks: rates per CPU-second, memory and latency. `make bench` runs them; none of them is a test."""

# Importing it selects the CPU features that numpy uses, in this process and in the measured ones.
import barograph_server  # noqa: F401
