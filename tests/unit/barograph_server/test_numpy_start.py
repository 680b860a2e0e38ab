"""The environment variables that numpy reads at its import."""

import subprocess
import sys
from pathlib import Path

from barograph_server.numpy_start import AVX512_SORTS, prepare_numpy

ZEN_4 = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nflags\t\t: fpu avx2 avx512f avx512vl\n"
ZEN_3, ZEN_5 = ZEN_4.replace(" avx512f avx512vl", ""), ZEN_4.replace(": 25", ": 26")
XEON = ZEN_4.replace("AuthenticAMD", "GenuineIntel").replace(": 25", ": 6")


def test_zen_4_alone_uses_the_avx2_sorts(tmp_path: Path) -> None:
    def prepared(cpuinfo: str, **environ: str) -> dict[str, str]:
        file = tmp_path / "cpuinfo"
        file.write_text(f"{cpuinfo}\n{cpuinfo.replace('flags', 'bugs')}", encoding="utf-8")
        prepare_numpy(environ, file)
        return environ

    assert prepared(ZEN_4)["NPY_DISABLE_CPU_FEATURES"] == AVX512_SORTS
    for cpuinfo in (ZEN_3, ZEN_5, XEON, ""):
        assert prepared(cpuinfo) == {"OPENBLAS_NUM_THREADS": "1"}, cpuinfo
    environ: dict[str, str] = {}
    prepare_numpy(environ, tmp_path / "none")
    assert environ == {"OPENBLAS_NUM_THREADS": "1"}
    chosen = {"OPENBLAS_NUM_THREADS": "2", "NPY_DISABLE_CPU_FEATURES": "AVX512_ICL"}
    assert prepared(ZEN_4, **chosen) == chosen


def test_the_command_does_not_import_numpy_at_its_start() -> None:
    code = "import sys, barograph_server; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
