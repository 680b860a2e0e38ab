"""The command `barograph`."""

import os

from barograph_server.cli.numpy_start import prepare_numpy

prepare_numpy(os.environ)
