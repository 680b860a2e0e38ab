"""What numpy is told before it is loaded: how many threads it takes, and which of its sorts a processor is slow at."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

AVX512_SORTS = "X86_V4"
"""The level of instructions that numpy's AVX-512 sorts belong to."""
_CPUINFO = Path("/proc/cpuinfo")


def prepare_numpy(environ: MutableMapping[str, str], cpuinfo: Path = _CPUINFO) -> None:
    """Set what numpy reads when it is loaded; what the environment says already stays.

    Nothing here is large linear algebra, and each BLAS starts a thread per core that waits in a loop: a tenth of a
    second of CPU at every start, for numpy's and for scipy's.

    Zen 4 takes some hundred cycles for the instruction that numpy's AVX-512 sorts do most (`vpcompress` into memory):
    30 ns a value where the sorts for AVX2 take 5 (docs/decisions/0030). So it is left those.

    Args:
        environ: `os.environ`, before numpy is loaded.
        cpuinfo: what Linux says of the processor; elsewhere there is none, and nothing is known.
    """
    environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with suppress(OSError):
        if _is_zen4(cpuinfo.read_text(encoding="utf-8", errors="replace")):
            environ.setdefault("NPY_DISABLE_CPU_FEATURES", AVX512_SORTS)


def _is_zen4(cpuinfo: str) -> bool:
    """Family 25 of AMD is Zen 3 and Zen 4, of which Zen 4 alone has AVX-512."""
    told: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    return (
        told.get("vendor_id") == "AuthenticAMD"
        and told.get("cpu family") == "25"
        and "avx512f" in told.get("flags", "").split()
    )
