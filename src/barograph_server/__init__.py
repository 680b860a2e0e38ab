"""The Python API of the distribution `barograph-server`, for notebooks and scripts.

Each function does what a command does, and returns what the command prints: `infer`, `compare`, `check`, `skew`, `plan`
and `apply` have the names of their commands; `backfill` is `barograph load`, `decide` is `barograph promote`,
`evaluate` is `barograph eval gate`, and `rates` is `barograph evaluations`. Serving systems need only the distribution
`barograph` (`client/`), which does not contain this package. Import it before numpy: on some processors it selects
numpy's CPU features, so that all programs compute the same bits.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from barograph_server.numpy_start import prepare_numpy

if TYPE_CHECKING:
    from barograph_server.batch.backfill.backfill import BackfillReport, backfill
    from barograph_server.batch.check import CheckReport, check
    from barograph_server.batch.compare.compare import compare
    from barograph_server.batch.compare.errors import CompareError
    from barograph_server.batch.compare.html import CompareReport
    from barograph_server.batch.skew.compare import SkewReport
    from barograph_server.batch.skew.skew import skew
    from barograph_server.errors import CommandError
    from barograph_server.evaluation.rates import RatesReport, rates
    from barograph_server.evaluation.suites.evaluate import evaluate
    from barograph_server.evaluation.suites.gate import GateDecision
    from barograph_server.profiling.infer.errors import InferError
    from barograph_server.profiling.infer.infer import InferResult
    from barograph_server.profiling.infer.training import infer
    from barograph_server.provisioning.deploy import apply, plan
    from barograph_server.provisioning.plan import Plan
    from barograph_server.rollouts.arm import ArmEvaluation
    from barograph_server.rollouts.decide import CandidateDecision, decide

_NAMES = {
    "batch.backfill.backfill": ("BackfillReport", "backfill"),
    "batch.check": ("CheckReport", "check"),
    "batch.compare.compare": ("compare",),
    "batch.compare.errors": ("CompareError",),
    "batch.compare.html": ("CompareReport",),
    "batch.skew.compare": ("SkewReport",),
    "batch.skew.skew": ("skew",),
    "errors": ("CommandError",),
    "evaluation.rates": ("RatesReport", "rates"),
    "evaluation.suites.evaluate": ("evaluate",),
    "evaluation.suites.gate": ("GateDecision",),
    "profiling.infer.errors": ("InferError",),
    "profiling.infer.infer": ("InferResult",),
    "profiling.infer.training": ("infer",),
    "provisioning.deploy": ("apply", "plan"),
    "provisioning.plan": ("Plan",),
    "rollouts.arm": ("ArmEvaluation",),
    "rollouts.decide": ("CandidateDecision", "decide"),
}
"""Module → its public names; it is imported at their first use, because processors import this package too."""
_MODULES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}

__all__ = [
    "ArmEvaluation",
    "BackfillReport",
    "CandidateDecision",
    "CheckReport",
    "CommandError",
    "CompareError",
    "CompareReport",
    "GateDecision",
    "InferError",
    "InferResult",
    "Plan",
    "RatesReport",
    "SkewReport",
    "apply",
    "backfill",
    "check",
    "compare",
    "decide",
    "evaluate",
    "infer",
    "plan",
    "rates",
    "skew",
]

prepare_numpy(os.environ)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
