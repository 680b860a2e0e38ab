"""The environment variables that numpy reads at its import."""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cli.numpy_start import AVX512_SORTS, prepare_numpy

ZEN_4 = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nflags\t\t: fpu avx2 avx512f avx512vl\n"
ZEN_3 = ZEN_4.replace(" avx512f avx512vl", "")
ZEN_5 = ZEN_4.replace(": 25", ": 26")
XEON = ZEN_4.replace("AuthenticAMD", "GenuineIntel").replace(": 25", ": 6")


def prepare(tmp_path: Path, cpuinfo: str, **environ: str) -> dict[str, str]:
    file = tmp_path / "cpuinfo"
    file.write_text(f"{cpuinfo}\n{cpuinfo.replace('flags', 'bugs')}", encoding="utf-8")
    prepare_numpy(environ, file)
    return environ


def test_zen_4_uses_the_avx2_sorts(tmp_path: Path) -> None:
    assert prepare(tmp_path, ZEN_4)["NPY_DISABLE_CPU_FEATURES"] == AVX512_SORTS


@pytest.mark.parametrize("cpuinfo", [ZEN_3, ZEN_5, XEON, ""])
def test_no_other_cpu_disables_a_feature(tmp_path: Path, cpuinfo: str) -> None:
    assert prepare(tmp_path, cpuinfo) == {"OPENBLAS_NUM_THREADS": "1"}


def test_without_cpuinfo_no_feature_is_disabled(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    prepare_numpy(environ, tmp_path / "none")
    assert environ == {"OPENBLAS_NUM_THREADS": "1"}


def test_variables_that_are_set_stay(tmp_path: Path) -> None:
    environ = {"OPENBLAS_NUM_THREADS": "2", "NPY_DISABLE_CPU_FEATURES": "AVX512_ICL"}
    assert prepare(tmp_path, ZEN_4, **environ) == environ


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numpy is built for another kind of processor")
def test_numpy_knows_the_feature() -> None:
    """numpy ignores unknown names silently."""
    levels = np.show_config(mode="dicts")["SIMD Extensions"]
    assert AVX512_SORTS in [*levels["found"], *levels.get("not found", [])]


def test_the_command_does_not_import_numpy_at_its_start() -> None:
    code = "import sys, cli; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
