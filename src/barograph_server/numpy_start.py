"""Environment variables that numpy reads at its import: the number of threads, and the disabled CPU features."""

from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

AVX512_SORTS = "X86_V4"
"""The CPU feature level of numpy's AVX-512 sorts."""
_CPUINFO = Path("/proc/cpuinfo")


def prepare_numpy(environ: MutableMapping[str, str], cpuinfo: Path = _CPUINFO) -> None:
    """Set the variables for numpy. Variables that are already set stay.

    Barograph has no large linear algebra, and the BLAS libraries of numpy and scipy each start a busy-waiting thread
    per core, which costs a tenth of a second of CPU at every start. So BLAS gets one thread.

    On Zen 4 the main instruction of numpy's AVX-512 sorts (`vpcompress` into memory) takes some hundred cycles: 30 ns
    per value, where the AVX2 sorts take 5 ns (docs/decisions/0030). So Zen 4 uses the AVX2 sorts.

    Args:
        environ: `os.environ`, before the import of numpy.
        cpuinfo: Linux's description of the CPU; missing on other systems, which are left unchanged.
    """
    environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with suppress(OSError):
        if _is_zen4(cpuinfo.read_text(encoding="utf-8", errors="replace")):
            environ.setdefault("NPY_DISABLE_CPU_FEATURES", AVX512_SORTS)


def _is_zen4(cpuinfo: str) -> bool:
    """Whether the CPU is a Zen 4: AMD family 25 is Zen 3 and Zen 4, and only Zen 4 has AVX-512."""
    properties: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        properties.setdefault(name.strip(), value.strip())
    return (
        properties.get("vendor_id") == "AuthenticAMD"
        and properties.get("cpu family") == "25"
        and "avx512f" in properties.get("flags", "").split()
    )
