"""What this system costs: rates per CPU-second, memory, latency. `make bench` runs it all; nothing here is a test."""

import os

from cli.numpy_start import prepare_numpy

# As the command does, for this process and those that it measures.
prepare_numpy(os.environ)
