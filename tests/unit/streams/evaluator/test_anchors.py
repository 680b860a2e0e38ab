"""Files of anchors: what they contain, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from barograph_server.streams.evaluator.anchors import read_anchors
from barograph_server.streams.evaluator.check_evaluators import SetupError


def lines(n: int = 20) -> list[dict[str, Any]]:
    return [
        {"id": f"a{i}", "prompt": "Why?", "answer": f"Because {i}.", "class": "sound" if i % 2 else "faulty"}
        for i in range(n)
    ]


def written(folder: Path, rows: list[dict[str, Any]], *more: str) -> Path:
    path = folder / "anchors.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), *more]) + "\n", encoding="utf-8")
    return path


def problem(path: Path) -> str:
    with pytest.raises(SetupError) as caught:
        read_anchors(path)
    return str(caught.value).replace(str(path), "FILE")


def test_anchors_are_read_and_only_their_content_decides_the_hash(tmp_path: Path) -> None:
    anchors = read_anchors(written(tmp_path, lines()))
    assert len(anchors.anchors) == 20
    assert anchors.anchors[1].answer_class == "sound"
    spaced = written(
        tmp_path, [], *(json.dumps(each, indent=None, separators=(" ,", ":  ")) + "\r" for each in lines()[::-1]), ""
    )
    assert read_anchors(spaced).hash == anchors.hash, "order and white space do not count"
    changed = [*lines()[:-1], lines()[-1] | {"class": "faulty"}]
    assert read_anchors(written(tmp_path, changed)).hash != anchors.hash


def test_a_run_counts_right_verdicts_and_missing_ones(tmp_path: Path) -> None:
    anchors = read_anchors(written(tmp_path, lines()))
    classes = {each.id: "sound" for each in anchors.anchors[:15]}
    run = anchors.run("r", "run", classes)
    assert (run.anchors, run.right, run.no_result) == (20, 7, 5)
    assert run.wrong == {f"a{i}" for i in range(0, 15, 2)}


ODD = '{"id": "x", "prompt": "p", "answer": "a"}'


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("no JSON", "FILE cannot be used:\nline 21: JSON is malformed"),
        (ODD, "line 21: Object missing required field `class`; write"),
        (ODD.replace("}", ', "class": "good"}'), "line 21: Invalid enum value 'good'"),
        (ODD.replace("}", ', "class": "sound", "note": ""}'), "unknown field `note`"),
        (json.dumps(lines()[3]), "line 21: the id 'a3' is in line 4 too; rename one"),
    ],
)
def test_wrong_lines_are_reported_with_their_numbers(tmp_path: Path, line: str, text: str) -> None:
    assert text in problem(written(tmp_path, lines(), line))


def test_too_few_anchors_and_those_of_one_class_are_rejected(tmp_path: Path) -> None:
    assert "there are 19 anchors; label at least 20, better 100" in problem(written(tmp_path, lines(19)))
    faulty = [each | {"class": "faulty"} for each in lines()]
    assert "all anchors are faulty; add sound ones" in problem(written(tmp_path, faulty))


def test_many_wrong_lines_are_not_all_listed_and_files_may_be_unreadable(tmp_path: Path) -> None:
    text = problem(written(tmp_path, lines(), *["x"] * 50))
    assert text.count("\nline ") == 10
    assert text.endswith("and 40 more")
    assert "cannot be read: no such file" in problem(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe9"}')
    assert "is not UTF-8" in problem(tmp_path / "latin.jsonl")
