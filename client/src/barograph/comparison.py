"""The comparison of two tables, which the distribution `barograph-server` computes."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def compare(train: Any, prod: Any, **options: Any) -> Any:
    """Compare production data with training data, if the distribution `barograph-server` is installed.

    Args:
        train: The training data: a path of a Parquet, CSV or Arrow file, or a table (pandas, polars, pyarrow, …).
        prod: The production data, in the same forms.
        options: Those of `barograph_server.compare`, such as `time` and `label`.

    Returns:
        The report of `barograph_server.compare`. In a notebook it shows itself.

    Raises:
        ImportError: `barograph-server` is not installed.
    """
    try:
        server = import_module("barograph_server")
    except ModuleNotFoundError as error:
        if error.name != "barograph_server":
            raise
        raise ImportError(
            "barograph.compare needs the distribution barograph-server: pip install 'barograph[compare]'"
        ) from None
    return server.compare(train, prod, **options)
