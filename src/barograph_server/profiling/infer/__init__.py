"""`barograph infer`: contract and baseline from a training table."""

from barograph_server.profiling.infer.errors import ExistsError, InferError, OptionError, TableError
from barograph_server.profiling.infer.files import WrittenFiles
from barograph_server.profiling.infer.infer import Decision, InferOptions, InferResult, infer_file
from barograph_server.profiling.infer.profile import Roles

__all__ = [
    "Decision",
    "ExistsError",
    "InferError",
    "InferOptions",
    "InferResult",
    "OptionError",
    "Roles",
    "TableError",
    "WrittenFiles",
    "infer_file",
]
