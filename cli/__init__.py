"""The command `barograph`."""

import os

# Nothing here is large linear algebra, and each BLAS starts a thread per core that waits in a loop: a tenth of a second
# of CPU at every start, for numpy's and for scipy's. It must be said before either is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
