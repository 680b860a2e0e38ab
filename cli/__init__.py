"""The command `barograph`."""

import os

from cli.numpy_start import prepare_numpy

prepare_numpy(os.environ)
