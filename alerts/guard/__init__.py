"""The guard: publishes for each model whether serving should rely on it."""
