"""The folders of the product are those of docs/architecture.md, and unit tests mirror them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from tests.unit.repository.sources import PACKAGES, ROOT, product_files, python_files

OTHER_UNIT_TESTS = {"repository", "benchmarks", "deploy", "tests", "tools"}
"""Folders of tests/unit whose subject is not a product package."""


def test_the_map_lists_every_folder_of_the_product() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = page.partition("<!-- folders: begin -->")[2].partition("<!-- folders: end -->")[0]
    listed = re.findall(r"^\| `([^`]+)/` \| [^|]+ \|$", section, re.MULTILINE)
    folders = {PurePosixPath(path).parent.as_posix() for path in product_files()}
    assert sorted(listed) == sorted(folders)


def test_unit_tests_mirror_the_source_tree() -> None:
    wrong = []
    for path in python_files("tests/unit"):
        package, *inner = PurePosixPath(path).relative_to("tests/unit").parent.parts or ("",)
        source = PACKAGES.get("barograph" if package == "client" else package)
        if package not in OTHER_UNIT_TESTS and (source is None or not (ROOT / source).joinpath(*inner).is_dir()):
            wrong.append(path)
    assert not wrong, "the source has no such folder"
