"""Prompt files: their meaning, their hash, and the messages about invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from barograph import PromptError, load_prompt
from barograph.prompts.content import (
    MAX_TEMPLATE_CHARS,
    PromptContent,
    PromptMessage,
    PromptVariable,
    content_hash,
    label_fault,
)
from barograph.prompts.errors import PromptFileError
from barograph.prompts.file import parse_content

WHOLE = """
name: answer
description: |
  Answers questions of customers.
owner: support
parent: 6
template:
  - role: system
    content: "You answer in {{ language }}. Draft: {{draft}}"
  - {role: user, content: "{{question}}"}
variables:
  question: {description: as it was typed}
  language: {type: text}
  draft: {type: bool, required: false}
config:
  model: small
  temperature: 0.2
  max_tokens: 200
  stop: [END, "3"]
  tools: {strict: true, seed: null, id: 1.50}
"""


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(PromptFileError) as caught:
        parse_content(text, "p.yaml")
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def test_every_key_is_read() -> None:
    assert parse_content(WHOLE) == PromptContent(
        name="answer",
        description="Answers questions of customers.\n",
        owner="support",
        parent=6,
        template=(
            PromptMessage("system", "You answer in {{ language }}. Draft: {{draft}}"),
            PromptMessage("user", "{{question}}"),
        ),
        variables={
            "question": PromptVariable(description="as it was typed"),
            "language": PromptVariable(),
            "draft": PromptVariable(type="bool", required=False),
        },
        config={
            "model": "small",
            "temperature": 0.2,
            "max_tokens": 200,
            "stop": ["END", "3"],
            "tools": {"strict": True, "seed": None, "id": 1.5},
        },
    )


def test_without_variables_each_placeholder_is_a_required_text() -> None:
    content = parse_content("name: a\ntemplate: '{{x}} and {{y}}, {{ x }}'\n")
    assert content.variables == {"x": PromptVariable(), "y": PromptVariable()}
    assert parse_content("name: a\ntemplate: no variable, {x} and }} and {% stay text\n").variables == {}


def test_the_hash_covers_every_value_and_nothing_else() -> None:
    digest = content_hash(parse_content(WHOLE))
    # The same on all machines and in all releases: a registered version is found by it.
    assert digest == "c846e58fe5611f8e4a3649773299cfb7d31266c737321ec844392fedb872df91"
    lines = WHOLE.strip().splitlines()
    moved = "\n".join(["# a comment", *lines[3:5], *lines[:3], *lines[5:]])
    assert content_hash(parse_content(moved)) == digest
    changes = [
        ("name: answer", "name: answers"),
        ("customers", "clients"),
        ("support", "sales"),
        ("parent: 6", "parent: 5"),
        ("You answer", "You reply"),
        ("role: user", "role: developer"),
        ("typed", "spoken"),
        ("type: bool", "type: int"),
        ("required: false", "required: true"),
        ("temperature: 0.2", "temperature: 0.3"),
        ('"3"', "3"),
        ("strict: true", "strict: false"),
    ]
    digests = {content_hash(parse_content(WHOLE.replace(*change))) for change in changes}
    assert len(digests | {digest}) == len(changes) + 1


def test_all_problems_are_reported_with_their_lines() -> None:
    cases: list[tuple[str | bytes, list[str] | None]] = [
        ("", ["p.yaml:1: this is not a prompt; begin with name: NAME and template: TEXT"]),
        (b"\xff", ["p.yaml:1: byte 0 is not UTF-8; save the file as UTF-8"]),
        (
            "owner: x\n",
            [
                "p.yaml:1: name: is missing; write name: answer",
                'p.yaml:1: template: is missing; write template: "Answer the question: {{question}}"',
            ],
        ),
        (
            "name: a@1\ntemplate: ''\nparent: 0\nunknown: 1\nconfig: [1]\nvariables: {1x: {typ: text}}\n",
            [
                "p.yaml:1: name: 'a@1' has an @, which separates name and version; remove it",
                "p.yaml:2: template: the text is empty; write it, with placeholders such as {{question}}",
                "p.yaml:3: parent: '0' is out of range or not a whole number; "
                "write a whole number from 1 to 1000000000",
                "p.yaml:4: unknown: the key 'unknown' is unknown; "
                "write one of name, template, variables, config, owner, parent, description",
                "p.yaml:5: config: write a map of `key: value` lines",
                "p.yaml:6: variables.1x.typ: the key 'typ' is unknown; did you mean type?",
                "p.yaml:6: variables.1x: is not the name of a variable; "
                "write letters, digits and underscores, no digit first",
            ],
        ),
        (
            "name: a\ntemplate: |\n  one {{x}}\n  two {{x y}}\n  {% if x %}\n",
            [
                "p.yaml:2: template: line 2 of the text: '{{x y}}' is not a placeholder; write {{name}} with letters, "
                "digits and underscores",
                "p.yaml:2: template: line 3 of the text: '{% if x %}' is a statement of Jinja; templates have "
                "placeholders only: compute the value, and pass it as a variable",
            ],
        ),
        (
            "name: a\ntemplate: '{{question}} {{other}}'\nvariables:\n  questoin: {}\n  unused: {}\n",
            [
                "p.yaml:3: variables.question: is in the template and not declared; did you mean questoin?",
                "p.yaml:3: variables.other: is in the template and not declared; write one of questoin, unused",
                "p.yaml:4: variables.questoin: is in no template; write {{questoin}} there, or remove it",
                "p.yaml:5: variables.unused: is in no template; write {{unused}} there, or remove it",
            ],
        ),
        (
            "name: a\ntemplate: []\n",
            ['p.yaml:2: template: the list is empty; write a message such as {role: user, content: "{{question}}"}'],
        ),
        (
            "name: a\ntemplate: {role: user}\n",
            ['p.yaml:2: template: write text, or a list of messages such as - {role: user, content: "{{question}}"}'],
        ),
        ("name: a\ntemplate: x\ntemplate: y\n", ["p.yaml:3: template: occurs twice (first in line 2); remove one"]),
        ("name: a\ntemplate: &x y\nowner: *x\n", None),
        ("name: a\ntemplate: x\nconfig: {t: 1e999}\n", None),
    ]
    for text, expected in cases:
        reported = problems(text)
        assert sorted(reported) == sorted(reported if expected is None else expected), text


def test_a_label_is_no_version() -> None:
    assert label_fault("candidate") is None
    assert label_fault("7") == "'7' looks like a version; write a word such as production"
    assert label_fault("a@7") == "'a@7' has an @, which separates name and version; remove it"


def test_templates_have_a_limit() -> None:
    half = "x" * (MAX_TEMPLATE_CHARS // 2)
    messages = f"- {{role: user, content: {half}}}\n"
    assert parse_content(f"name: a\ntemplate:\n{messages * 2}").texts == (half, half)
    [problem] = problems(f"name: a\ntemplate:\n{messages * 2}- {{role: user, content: y}}\n")
    assert problem == "p.yaml:2: template: the texts have 200,001 characters; write at most 200,000"
    [problem] = problems(f"name: a\ntemplate: x\nconfig: {{a: [{', '.join(['y' * 9_000] * 101)}]}}\n")
    assert "bytes as JSON; write at most 900,000" in problem


def test_a_file_is_a_prompt_without_a_registry(tmp_path: Path) -> None:
    path = tmp_path / "answer.yaml"
    path.write_text("name: answer\ntemplate: 'Answer: {{question}}'\n")
    prompt = load_prompt(path)
    assert (prompt.id, prompt.version, prompt.source) == ("answer@file", 0, "file")
    assert prompt.render(question="why?") == "Answer: why?"
    with pytest.raises(PromptError, match=r"none\.yaml: cannot be read: no such file or directory; give the path"):
        load_prompt(tmp_path / "none.yaml")
