"""The Python API of the distribution `barograph-server`, for notebooks and scripts.

`compare` compares two tables without Kafka and ClickHouse. Serving systems need only the distribution `barograph`
(`client/`), which does not contain this package. Import it before numpy: on some processors it selects numpy's CPU
features, so that all programs compute the same bits.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from barograph_server.numpy_start import prepare_numpy

if TYPE_CHECKING:
    from barograph_server.batch.compare.compare import compare
    from barograph_server.batch.compare.errors import CompareError
    from barograph_server.batch.compare.report import CompareReport
    from barograph_server.profiling.infer.errors import InferError

__all__ = ["CompareError", "CompareReport", "InferError", "compare"]

_MODULES = {
    "compare": "barograph_server.batch.compare.compare",
    "CompareError": "barograph_server.batch.compare.errors",
    "CompareReport": "barograph_server.batch.compare.report",
    "InferError": "barograph_server.profiling.infer.errors",
}
"""Public name → its module, which is imported at the first use: processors and commands import this package too."""

prepare_numpy(os.environ)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
