"""Rendering: values are inserted as they are, and values that do not fit are one error."""

from __future__ import annotations

import pytest
from barograph import Prompt, PromptError
from barograph.prompts.content import PromptMessage
from barograph.prompts.file import parse_content
from barograph.prompts.prompt import fallback_prompt, parse_prompt_id
from hypothesis import given
from hypothesis import strategies as st


def prompt(text: str) -> Prompt:
    return Prompt(content=parse_content(text), version=7, source="registry")


TYPED = prompt(
    "name: answer\ntemplate: '{{t}}|{{i}}|{{f}}|{{b}}'\n"
    "variables: {t: {}, i: {type: int}, f: {type: float}, b: {type: bool, required: false}}\n"
)


def test_values_of_every_type_are_written() -> None:
    assert TYPED.render(t="x", i=-3, f=0.5, b=True) == "x|-3|0.5|true"
    assert TYPED.render(t="", i=10**20, f=2) == "|100000000000000000000|2|"
    assert TYPED.render(t="x", i=1, f=1.0, b=None) == "x|1|1.0|"
    assert prompt("name: a\ntemplate: '{{self}} {{values}}'\n").render(self="x", values="y") == "x y", "any name"


@given(st.text(), st.text())
def test_values_are_inserted_literally(first: str, second: str) -> None:
    text = prompt("name: a\ntemplate: '<{{x}}> {{ y }} {{x}} {z} %s \\1'\n")
    assert text.render(x=first, y=second) == f"<{first}> {second} {first} {{z}} %s \\1"


def test_braces_inside_a_value_are_no_placeholders() -> None:
    text = prompt("name: a\ntemplate: '{{x}} {{y}}'\n")
    assert text.render(x="{{y}}", y="{{x}} {0} $y") == "{{y}} {{x}} {0} $y"


def test_a_chat_becomes_messages() -> None:
    chat = prompt("name: a\ntemplate:\n- {role: system, content: 'Be {{how}}.'}\n- {role: user, content: '{{q}}'}\n")
    assert chat.render(how="short", q="Why?") == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Why?"},
    ]


def test_all_values_that_do_not_fit_are_one_error() -> None:
    with pytest.raises(PromptError) as caught:
        TYPED.render(i="3", f=float("nan"), b=1, other=2, t=None)
    assert str(caught.value) == (
        "values for answer@7 do not fit its variables: missing: t; unknown: other (it has t, i, f, b); "
        "i is str, not a whole number; f is float, not a finite number; b is int, not True or False"
    )
    for wrong in ({"i": True}, {"i": 1.0}, {"f": True}, {"t": b"x"}, {"t": 3}):
        with pytest.raises(PromptError, match=r"^values for answer@7 do not fit its variables: \w is \w+, not "):
            TYPED.render(**({"t": "x", "i": 1, "f": 1.0} | wrong))


def test_a_fallback_accepts_the_values_of_other_versions() -> None:
    fallback = fallback_prompt("answer", "Answer {{question}} ({{n}})")
    assert (fallback.id, fallback.source) == ("answer@fallback", "fallback")
    assert fallback.render(question="why?", n=3, context="unknown") == "Answer why? (3)"
    with pytest.raises(PromptError, match="missing: n"):
        fallback.render(question="why?")


def test_a_fallback_may_be_messages_or_a_prompt_and_is_checked_at_once() -> None:
    messages = fallback_prompt("a", [{"role": "user", "content": "{{x}}"}])
    assert messages.content.template == (PromptMessage("user", "{{x}}"),)
    other = fallback_prompt("b", TYPED)
    assert (other.id, other.source, other.content.variables) == ("b@7", "fallback", TYPED.content.variables)
    wrong: tuple[object, ...] = (None, 3, [], {}, b"x", [{"role": "nobody", "content": "x"}], "{{a b}}")
    for malformed in wrong:
        with pytest.raises(PromptError, match="the fallback of a"):
            fallback_prompt("a", malformed)


def test_an_id_has_a_name_and_perhaps_a_version() -> None:
    assert parse_prompt_id("answer@7") == ("answer", 7)
    assert parse_prompt_id("a b") == ("a b", None)
    for wrong in ("a@", "a@0", "a@x", "a@1@2", "a@99999999999"):
        with pytest.raises(PromptError, match="is not a prompt; write NAME or NAME@VERSION"):
            parse_prompt_id(wrong)
