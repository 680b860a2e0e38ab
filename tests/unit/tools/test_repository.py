import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from barograph_server.local.kafka_jars import JAR_LIST, parse_jar_list
from tools.audit import CLEAN, UNAVAILABLE, VULNERABLE, conclude
from tools.check_language import check_python, phrases_in
from tools.generate import __main__ as command
from tools.repository.__main__ import main
from tools.repository.code import SECTIONS
from tools.repository.limits import BUDGETS, limits, limits_hold
from tools.repository.tree import CHECKS, LINKED, PACKAGES, Repository
from tools.sbom import main as write_sbom

ROOT = Path(__file__).resolve().parents[3]
FAUST, CLI, MAKEFILE, SECURITY = "streams/monitor/app.py", "cli/main.py", "Makefile", "docs/security.md"
CI, ELEMENTS = ".github/workflows/ci.yml", "local/preview/static/elements.js"

FAULTS: list[tuple[str, str, str, str]] = [
    ("the_monitor_reads_streams_only_in_the_safe_way", FAUST, "", "async def a(s):\n    async for v in s: pass"),
    ("the_monitor_reads_streams_only_in_the_safe_way", FAUST, "", "x = app.Table('counts').tumbling(60)"),
    ("the_monitor_reads_streams_only_in_the_safe_way", FAUST, "concurrency=1", "concurrency=4"),
    ("no_file_evaluates_text_or_allows_pickle", CLI, "", "eval('1')"),
    ("no_program_reads_formats_that_execute_code", CLI, "", "import pickle"),
    ("no_program_reads_formats_that_execute_code", CLI, "", "pd.read_pickle(x)"),
    ("yaml_is_loaded_safely_everywhere", CLI, "", "yaml.load(text)"),
    ("a_key_of_the_contract_is_named_once", "client/src/barograph/contract/dump.py", "", "x = 'anchors_every'"),
    ("a_class_name_stands_for_one_thing", CLI, "", "def f():\n    class LazyGroup: ..."),
    ("every_package_has_a_level", "pyproject.toml", 'packages = ["src/', 'packages = ["sketches", "src/'),
    ("every_package_has_a_level", "src/barograph_server/" + "other", "", ""),
    ("imports_point_one_way", "sketches/__init__.py", "", "import barograph_server.streams.run"),
    ("imports_point_one_way", "streams/__init__.py", "", "from barograph_server.sketches.sketch import _private"),
    ("imports_point_one_way", "streams/__init__.py", "", "from . import run"),
    ("no_modules_import_each_other_in_a_cycle", "streams/topics.py", "", "import barograph_server.streams.settings"),
    ("no_modules_import_each_other_in_a_cycle", ELEMENTS, "", 'import {\n  size,\n} from "./panels.js";'),
    ("sketches_use_no_io_and_no_clock", "sketches/__init__.py", "", "from time import time"),
    ("the_client_needs_only_its_own_dependencies", "client/src/barograph/__init__.py", "", "import requests"),
    ("a_library_stays_where_it_belongs", CLI, "", "import grafana_client"),
    ("a_library_stays_where_it_belongs", "warehouse/__init__.py", "", "import confluent_kafka"),
    ("no_file_names_a_registry_or_a_folder_of_one_machine", "README.md", "", "https://" + ".".join(("pypi", "org"))),
    ("commands_in_pages_and_messages_exist", "README.md", "", "`barograph " + "predict`"),
    ("targets_in_pages_exist", "README.md", "", "`make " + "coffee`"),
    ("links_have_a_target", "README.md", "", "[page](docs/nowhere)"),
    ("pages_fit_the_site", "docs/" + "lost.md", "", "# Lost"),
    ("pages_fit_the_site", "docs/index.md", "", "[file](../README.md)"),
    ("pages_fit_the_site", "docs/index.md", "", "1. Run\n\n   ```sh\n   x\n   ```"),
    ("pages_in_text_exist", CLI, "", "# see docs/decisions/" + "9999"),
    ("tests_in_pages_exist", "README.md", "", "`tests/" + "nowhere.py`"),
    ("decisions_are_numbered_and_have_all_parts", "docs/decisions/" + "0001-missing.md", "", "## Context"),
    ("shell_scripts_parse_and_fail_on_errors", "tools/uv", "", "if then"),
    ("files_for_contributors_agree_with_the_project", ".editorconfig", "max_line_length = 120", ""),
    ("unit_tests_mirror_the_source_tree", "tests/unit/streams/nowhere/test_it.py", "", ""),
    ("limits_hold", CLI, "", "\n" * 9_000),
    ("every_root_has_a_budget", BUDGETS, "cli = ", "a = "),
    ("a_raised_budget_has_a_reason", BUDGETS, "tests = [480]", "tests = [480, 481]"),
    ("a_raised_budget_has_a_reason", BUDGETS, "streams = [29_830, ", "streams = [29_830, 99_999, "),
    ("every_threat_names_tests_that_run", SECURITY, "", "`tests/unit/nowhere.py::test_it`"),
    ("every_threat_names_tests_that_run", SECURITY, "\n## Threat model\n\n", "\n## Threats\n\n"),
    ("every_package_of_the_lock_has_hashes", "uv.lock", "sha256:", "md5:"),
    ("every_build_requirement_has_hashes_and_uv_requires_them", "pyproject.toml", "editables==0.6", "editables"),
    ("every_crate_has_its_checksum", "native/pyproject.toml", "locked = true", "locked = false"),
    ("every_jar_has_its_hash", "local/kafka-jars.txt", "", "org.example:library:1.0"),
    ("uv_is_installed_by_its_hash_and_is_new_enough", "tools/uv", "MINIMUM=0.13.0", "MINIMUM=0.12.9"),
    ("uv_is_installed_by_its_hash_and_is_new_enough", "Dockerfile", "--require-hashes", ""),
    ("modules_and_packages_for_tests_have_hashes", MAKEFILE, "npm ci --ignore-scripts", "npm install"),
    ("workflows_pin_actions_by_commit_and_get_no_more_than_read_access", CI, "read", "write"),
    ("workflows_pin_actions_by_commit_and_get_no_more_than_read_access", CI, "checkout@", "c@v"),
    ("installations_use_the_lock_file_unchanged", MAKEFILE, "sync --locked", "sync"),
    ("the_workflow_runs_every_supported_python", CI, '"3.12"', '"3.10"'),
]
"""Check, file, text to replace (empty: append) and the fault in its place."""


@pytest.fixture(scope="module")
def repository() -> Repository:
    """This checkout with few of its programs, which parse sooner."""
    whole = Repository.read(ROOT)
    programs = {path for _, path, _, _ in FAULTS} | {"streams/settings.py", *SECTIONS}
    texts = {name: text for name, text in whole.texts.items() if name in programs or not name.endswith(".py")}
    return Repository(texts, whole.names - texts.keys(), whole.executables)


def test_every_check_reports_its_fault(repository: Repository) -> None:
    clean = {name: set(check(repository)) for name, check in CHECKS.items()}
    silent = []
    for name, path, old, fault in FAULTS:
        text = repository.texts.get(path, "")
        assert old in text, (path, old)
        planted = repository.with_text(path, text.replace(old, fault) if old else f"{text}\n{fault}\n")
        if not set(CHECKS[name](planted)) - clean[name]:
            silent.append((name, fault))
    assert not silent
    assert {name for name, *_ in FAULTS} == CHECKS.keys()


def test_every_limit_notices_one_too_many(repository: Repository) -> None:
    pyproject, budgets = repository.texts["pyproject.toml"], repository.texts[BUDGETS]
    most = repository.toml(BUDGETS)
    planted: dict[str, dict[str, str]] = {
        "words of Markdown that are not generated": {"a.md": "word " * (most["markdown-words"][-1] + 1)},
        "files outside cli/, tests/ and tools/ that import cli/": {
            "benchmarks/a.py": "def f():\n    from barograph_server.cli import main"
        },
        "functions with ten or more parameters": {
            "sketches/a.py": "class A:\n"
            + "    def f(self, a, b, c, d, e, *, f, g, h, i, j): ...\n"
            * (most["layout"]["functions with ten or more parameters"][-1] + 1)
        },
        "imports among packages": {
            f"{package}/a.py": "\n".join(f"import barograph_server.{name}" for name in PACKAGES) for package in LINKED
        },
        "imports among modules of cli/": {
            "cli/a.py": "\n".join(f"import barograph_server.cli.c{i}" for i in range(26)),
            "cli/b.py": "\n".join(f"from barograph_server.cli import c{i}" for i in range(25)),
        },
        "modules in warehouse/ outside its folders": {f"warehouse/a{i}.py": "" for i in range(13)},
        "product files with SELECT outside warehouse/": {
            f"streams/a{i}.py": 'def f(table):\n    return f"SELECT n FROM {table}"' for i in range(6)
        },
        "product files with tags of HTML or SVG outside templates": {
            f"streams/a{i}.py": 'def f(name):\n    return f"<td>{name}</td>"' for i in range(2)
        },
        "modules in a circle of imports, Python and JavaScript": {"local/a.js": 'import "../local/a.js";'},
        "packages in the wheel": {"pyproject.toml": pyproject.replace('packages = ["src/', 'packages = ["a", "src/')},
        "folders at the root": {f"a{i}/b": "" for i in range(12)},
    }
    planted |= {f"lines in {root}/": {f"{root}/a.py": "\n" * (n[-1] + 1)} for root, n in most["python-lines"].items()}
    unplanted = {
        "pyproject.toml": pyproject,
        BUDGETS: budgets,
        "streams/a.py": '"""SELECT 1"""',
        "cli/a.py": "import barograph_server.cli.main",
        "tests/a.py": "import barograph_server.cli.main",
        "warehouse/a/b.py": 'X = "SELECT 1"',
        "local/b.js": 'import("./b.js");',
    }
    assert not set(limits_hold(Repository(unplanted)))
    for name, _, _ in limits(repository):
        fault = Repository({**unplanted, **planted.pop(name)})
        assert any(finding.startswith(f"{name}: ") for finding in limits_hold(fault)), name
    assert not planted


def test_an_unknown_check_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    assert "No check nonsense" in capsys.readouterr().err


# Assembled from pieces, so that this file passes the check.
TOLD, ASIDE, ANEW, WHOEVER, LETTERS = "to" + "ld", "put as" + "ide", "an" + "ew", "who" + "ever", "lett" + "ers"


def test_a_phrase_is_found_in_any_case_and_across_lines_and_standard_terms_are_accepted() -> None:
    for text in (f"One\n{WHOEVER.title()} asks", "events that\nwere " + ASIDE.replace(" ", "\n   ")):
        assert [finding.line for finding in phrases_in("page.md", text)] == [2], text
    for text in (f"dead {LETTERS}", f"dead\n{LETTERS}", f"the capital {LETTERS}", f"{TOLD} apart"):
        assert list(phrases_in("page.md", text)) == [], text


def test_python_is_checked_where_people_read_it() -> None:
    word, rest = ASIDE.split()
    for source, line in (
        (f'"""{WHOEVER} reads this."""', 1),
        (f"x = 1  # counted {ANEW}", 1),
        (f"# events are {word}\n# {rest} here", 1),
        (f'x = (\n    "was {word} "\n    "{rest}"\n)', 2),
        (f'x = f"{{y}} was {TOLD}"', 1),
        (f"def f({TOLD}): ...", 1),
        (f"def f(self):\n    self.{TOLD} = 1", 2),
        (f"import x as {TOLD}", 1),
        (f"try: ...\nexcept E as {TOLD}: ...", 2),
        (f"def test_it_is_{ASIDE.replace(' ', '_')}(): ...", 1),
    ):
        assert [finding.line for finding in check_python("module.py", source)] == [line], source
    # Names of others and code are no prose.
    for source in (
        *(f"x = library.{TOLD}", f"from library import {TOLD}", f"f({TOLD}=1)", f'x = f"{{{TOLD}}} rows"'),
        *(f'f("{word}", "{rest}")', f"{TOLD}_rows = 1"),
    ):
        assert list(check_python("module.py", source)) == [], source


def test_check_reports_what_write_repairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {tmp_path / "new" / "a.json": "a\n", tmp_path / "b.json": "b\n"}
    problems: list[str] = []
    monkeypatch.setattr(command, "GENERATORS", (lambda: (texts, problems),))
    monkeypatch.setattr(command, "OWNED", ((tmp_path, "*.json"),))
    (tmp_path / "b.json").write_text("c\n")
    (tmp_path / "old.json").write_text("")
    (tmp_path / "old.md").write_text("")
    assert command.main(["--check"]) == 1
    message = capsys.readouterr().err
    assert "a.json differs" in message
    assert "-c\n+b\n" in message
    assert "old.json is not generated" in message
    assert command.main(["--write"]) == command.main(["--check"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"new", "b.json", "old.md"}
    problems.append("A rule has no runbook.")
    assert command.main(["--write"]) == 1
    assert "no runbook" in capsys.readouterr().err


GOOD = {"name": "numpy", "version": "2.3", "vulns": []}
BAD = {"name": "pyyaml", "version": "5.3", "vulns": [{"id": "PYSEC-2020-96", "fix_versions": ["5.3.1"]}]}
UNFIXED = {"name": "old", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
SKIPPED = {"name": "scipy", "skip_reason": "Dependency not found on PyPI and could not be audited: scipy (1.15)"}


def test_a_package_without_an_answer_is_never_a_success() -> None:
    code, text = conclude("", "Failed to resolve the host")
    assert code == UNAVAILABLE
    assert "did not answer for any package (Failed to resolve the host)" in text
    for packages, code, texts in (
        ([GOOD], CLEAN, ["1 packages, no known vulnerability."]),
        ([GOOD, BAD, UNFIXED], VULNERABLE, ["pyyaml 5.3: PYSEC-2020-96, fixed in 5.3.1", "PYSEC-1, fixed in no ver"]),
        ([GOOD, SKIPPED], UNAVAILABLE, ["did not answer for scipy: this is no complete audit"]),
        ([BAD, SKIPPED], UNAVAILABLE, ["PYSEC-2020-96", "did not answer for scipy"]),
    ):
        result, text = conclude(json.dumps({"dependencies": packages, "fixes": []}))
        assert result == code
        assert [part for part in texts if part not in text] == []


OWN = {"barograph", "barograph-native", "barograph-server"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("sbom") / "new" / "sbom.json"
    assert write_sbom([str(path)]) == 0
    return json.loads(path.read_text(encoding="utf-8"))


def hashes_of(component: dict[str, Any]) -> set[str]:
    files = [component, *component.get("externalReferences", [])]
    return {entry["content"] for file in files for entry in file.get("hashes", []) if entry["alg"] == "SHA-256"}


def test_every_locked_package_is_listed_with_the_hashes_of_the_lock(document: dict[str, Any]) -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    listed = {(each["name"], each["version"]): hashes_of(each) for each in document["components"]}
    packages = [each for each in lock["package"] if each["name"] not in OWN]
    files = [[*each.get("wheels", []), *filter(None, [each.get("sdist")])] for each in packages]
    locked = {
        (each["name"], each["version"]): {file["hash"].removeprefix("sha256:") for file in own}
        for each, own in zip(packages, files, strict=True)
    }
    assert len(locked) > 50
    assert {name: listed.get(name) for name in locked} == locked


def test_every_jar_is_listed_with_its_hash(document: dict[str, Any]) -> None:
    jars = parse_jar_list(JAR_LIST.read_text(encoding="utf-8"))
    listed = {each["purl"]: hashes_of(each) for each in document["components"] if "purl" in each}
    assert len(jars) > 50
    for jar in jars:
        assert listed[f"pkg:maven/{jar.group}/{jar.artifact}@{jar.version}"] == {jar.sha256}
        assert re.fullmatch(r"[0-9a-f]{64}", jar.sha256)


def test_every_dependency_has_its_reason() -> None:
    reasons = (ROOT / "docs/decisions/0012-dependencies.md").read_text("utf-8").lower()
    for file in ("pyproject.toml", "client/pyproject.toml"):
        parsed = tomllib.loads((ROOT / file).read_text("utf-8"))
        lists = [*parsed["project"]["optional-dependencies"].values(), *parsed.get("dependency-groups", {}).values()]
        texts = [text for each in (parsed["project"]["dependencies"], *lists) for text in each if isinstance(text, str)]
        names = {re.split(r"[^\w.-]", text)[0] for text in texts} - OWN
        assert not [name for name in names if not re.search(rf"\b{re.escape(name.lower())}\b", reasons)], file
