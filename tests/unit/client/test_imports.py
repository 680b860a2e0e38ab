import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import barograph
import pyarrow as pa
import pytest

from barograph_server import CompareReport

HEAVY = {"yaml", "pyarrow", "confluent_kafka", "multiprocessing"}
CONTRACT = "contract: 1\nmodel: m\nfields:\n  x: {type: float}\n"
PUBLISHER = "barograph.Publisher.from_contract({contract!r}, version='1', bootstrap_servers='127.0.0.1:9')"


def heavy_modules(script: str, tmp_path: Path) -> set[str]:
    contract = tmp_path / "m.yaml"
    contract.write_text(CONTRACT)
    script = script.format(publisher=PUBLISHER.format(contract=str(contract)), contract=str(contract))
    return set(printed(f"import barograph, sys\n{script}\nprint(*({HEAVY!r} & set(sys.modules)))").split())


def printed(code: str) -> str:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_heavy_modules_are_loaded_at_their_first_use(tmp_path: Path) -> None:
    light = "Contract Label Prediction Reason Validator Prompt PromptError Prompts load_prompt ShadowReason ShadowStats"
    for script, expected in (
        (", ".join(f"barograph.{name}" for name in ("compare", *light.split())), set()),
        ("barograph.load_contract({contract!r})", {"yaml"}),
        ("barograph.Publisher", {"confluent_kafka"}),
        ("barograph.validate_table", {"pyarrow"}),
        (
            "p = {publisher}\n"
            "p.prediction(id='a', features={{'x': 1.0}}, score=0.5)\n"
            "p.validate({{'x': 1.0}})\n"
            "p.label(id='a', label=True)\n"
            "with p.observe(id='b') as observation: observation.score = 0.5\n"
            "with barograph.Shadow(p, len, version='2') as shadow: shadow.submit(id='a', features={{'x': 1.0}})\n"
            "p.close(0)",
            {"confluent_kafka", "yaml"},
        ),
        (
            "p = {publisher}\n"
            "class Table:\n"
            "    def __arrow_c_stream__(self, requested_schema=None): raise TypeError\n"
            "p.predictions(Table())\n"
            "p.close(0)",
            {"confluent_kafka", "pyarrow", "yaml"},
        ),
    ):
        assert heavy_modules(script, tmp_path) == expected, script


def test_every_public_name_is_exported_and_known_to_type_checkers() -> None:
    tree = ast.parse(Path(barograph.__file__).read_text("utf-8"))
    typed = {
        alias.name: statement.module
        for statement in ast.walk(tree)
        if isinstance(statement, ast.ImportFrom) and statement.module and statement.module.startswith("barograph.")
        for alias in statement.names
    }
    assert sorted(typed) == sorted(barograph.__all__)
    for name, module in typed.items():
        assert getattr(barograph, name) is getattr(import_module(module), name)
    assert set(barograph.__all__) <= set(dir(barograph))
    with pytest.raises(AttributeError, match="module 'barograph' has no attribute 'Publishers'"):
        _ = barograph.Publishers  # type: ignore[attr-defined]


def test_compare_is_that_of_the_server_or_says_what_to_install() -> None:
    table = {"x": [float(i % 7) for i in range(300)]}
    assert isinstance(barograph.compare(pa.table(table), pa.table(table), multivariate=False), CompareReport)
    code = (
        "import sys; sys.modules['barograph_server'] = None\n"
        "import barograph\n"
        "try: barograph.compare('a', 'b')\nexcept ImportError as error: print(error)"
    )
    assert printed(code).strip().endswith("pip install 'barograph[compare]'")
