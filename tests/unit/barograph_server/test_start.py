"""The start of the command: its API, processor features, signals and terminal."""

import ast
import io
import json
import math
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest
from rich.console import Console

import barograph_server
from barograph_server.numpy_start import AVX512_SORTS, prepare_numpy
from barograph_server.signal_wait import SIGNALS, set_on_signal
from barograph_server.terminal import AlignedTable, SafeText, Terminal, one_line, visible

FUNCTIONS = ("apply", "backfill", "check", "compare", "decide", "evaluate", "infer", "plan", "rates", "skew")


def typed_names() -> Iterator[tuple[str, str]]:
    tree = ast.parse(Path(barograph_server.__file__).read_text("utf-8"))
    block = next(each for each in tree.body if isinstance(each, ast.If))
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.module is not None
        for alias in statement.names:
            yield alias.name, statement.module


def test_every_public_name_resolves_and_is_known_to_type_checkers() -> None:
    typed = dict(typed_names())
    assert sorted(typed) == sorted(barograph_server.__all__)
    assert set(FUNCTIONS) <= set(dir(barograph_server))
    assert set(barograph_server.__all__) <= set(dir(barograph_server))
    for name, module in typed.items():
        assert getattr(barograph_server, name) is getattr(import_module(module), name)
        assert not Path(barograph_server.__file__).with_name(name).exists(), "a package has the name of a function"
    for name in FUNCTIONS:
        assert getattr(barograph_server, name).__doc__, name
    with pytest.raises(AttributeError, match="module 'barograph_server' has no attribute 'comparison'"):
        _ = barograph_server.comparison


def test_the_import_loads_no_library() -> None:
    heavy = "{'numpy', 'scipy', 'pyarrow', 'confluent_kafka', 'clickhouse_connect', 'faust', 'chdb', 'typer'}"
    code = f"import barograph_server, sys; dir(barograph_server); print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_files_beside_a_program_replace_no_module(tmp_path: Path) -> None:
    for name in ("cli.py", "streams.py", "warehouse.py", "alerts/rules.py", "examples/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('a file of the user was imported')\n")
    command = Path(sys.executable).with_name("barograph")
    code = "from barograph_server import compare; print(compare.__module__)"
    for words, expected in (
        ((sys.executable, "-c", code), "barograph_server.batch.compare.compare"),
        ((command, "--help"), "Usage: barograph"),
    ):
        result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert expected in result.stdout


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


def test_a_signal_that_interrupts_a_wait_with_its_lock_held_ends_it() -> None:
    before = {each: signal.getsignal(each) for each in SIGNALS}
    stop = threading.Event()
    set_on_signal(stop)
    try:
        with stop._cond:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)
        assert stop.wait(10)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def make_terminal() -> tuple[Terminal, io.StringIO]:
    output = io.StringIO()
    return Terminal(Console(file=output, width=80, legacy_windows=False)), output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ünï 名 🙂", "plain – ünï 名 🙂"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("a\x1b[2Jb", "a␛[2Jb"),
        ("\x9b31m", "\\u009b31m"),
        ("new\rline\b", "new␍line␈"),
        ("del\x7f", "del␡"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("two\nlines\tand", "two\nlines\tand"),
        ("nul\x00", "nul␀"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown
    terminal, output = make_terminal()
    terminal.line(text)
    terminal.line(SafeText("").append(text, "bold"))
    assert "\x1b" not in output.getvalue()
    if "\t" not in text:
        assert output.getvalue().count(shown) == 2
    table = AlignedTable("a")
    table.row(text)
    terminal.table(table)
    assert "\x1b" not in output.getvalue()


def test_text_is_never_markup() -> None:
    terminal, output = make_terminal()
    terminal.line("[red]name[/red] [link=file:///etc]x[/link]")
    assert output.getvalue() == "[red]name[/red] [link=file:///etc]x[/link]\n"
    assert one_line("a\nb\x1bc") == "a b c"


def test_tables_never_wrap_in_a_pipe() -> None:
    table = AlignedTable("name", "n", numbers=("n",))
    table.row("x" * 100, "1,200")
    terminal, output = make_terminal()
    terminal.table(table)
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    assert lines == [f"{'name':<100}      n", f"{'x' * 100}  1,200"]


def test_json_has_null_for_numbers_that_are_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().json({"a": [1.5, math.nan, math.inf], "at": datetime(2026, 3, 1, tzinfo=UTC), "t": ("é",)})
    output = json.loads(capsys.readouterr().out)
    assert output == {"a": [1.5, None, None], "at": "2026-03-01T00:00:00+00:00", "t": ["é"]}
