"""What this system costs: rates per CPU-second, memory, latency. `make bench` runs it all; nothing here is a test."""
