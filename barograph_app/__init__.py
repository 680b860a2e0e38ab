"""The Python API of the distribution `barograph-app`, for notebooks and scripts.

`compare` compares two tables without Kafka and ClickHouse. Serving systems need only the distribution `barograph`
(`client/`), which does not contain this package. Import it before numpy: on some processors it selects numpy's CPU
features, so that all programs compute the same bits.
"""

from __future__ import annotations

from barograph_server.cli.compare.compare import compare
from barograph_server.cli.compare.errors import CompareError
from barograph_server.cli.compare.report import CompareReport
from barograph_server.cli.infer.errors import InferError

__all__ = ["CompareError", "CompareReport", "InferError", "compare"]
