"""What this system costs: rates per CPU-second, memory, latency. `make bench` runs it all; nothing here is a test."""

# It says what numpy is to use, for this process and those that it measures, as it does for the command.
import cli  # noqa: F401
