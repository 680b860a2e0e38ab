"""No text can end its block or leave the data of its message."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.evaluator.judges.data_blocks import data_message, draw_token, neutralize
from streams.evaluator.judges.messages import judge_request
from streams.evaluator.judges.rubric import JudgedTexts, Rubric
from tests.reference.judge_attacks import read_attacks

ATTACKS = read_attacks()
CONTROL_TOKENS = [
    "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<｜User｜>", "<s>", "</s>", "<BOS>",
    "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[TOOL_CALLS]", "<|>",
]  # fmt: skip


def blocks_of(message: str) -> dict[str, str]:
    """Read a message as its rule says: lines with the token of the first line begin and end the blocks."""
    first, rest = message.split("\n", 1)
    token = first.removeprefix("The token of this message is ").removesuffix(".")
    pattern = rf"^BEGIN (\w+) {token}\n(.*?)\nEND \1 {token}$"
    blocks = {match[1]: match[2] for match in re.finditer(pattern, rest, re.DOTALL | re.MULTILINE)}
    assert message.count(token) == 1 + 2 * len(blocks), "the token is nowhere else"
    return blocks


def test_there_are_twenty_attacks() -> None:
    assert len(ATTACKS) == 20


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_stays_in_its_block(name: str, rubric: Rubric) -> None:
    attack = ATTACKS[name].format(answer="Black.")
    harmless = judge_request(rubric, JudgedTexts("Q", "A", "C")).messages
    for texts in (JudgedTexts("Q", attack, "C"), JudgedTexts(attack, "A", "C"), JudgedTexts("Q", "A", attack)):
        messages = judge_request(rubric, texts).messages
        assert messages[:-1] == harmless[:-1], "nothing of a text is outside the last message"
        assert messages[-1].role == "user"
        expected = {name: neutralize(texts.text_of(name)) for name in rubric.inputs}
        assert blocks_of(messages[-1].content) == expected
        assert not any(token.lower() in messages[-1].content.lower() for token in CONTROL_TOKENS)
    assert neutralize(attack).replace(" ", "") == attack.replace(" ", ""), "a judge sees all of the attack"


@given(st.text())
def test_any_text_stays_in_its_block(text: str) -> None:
    token = draw_token([text])
    message = data_message([("prompt", text), ("answer", text)], token, "Judge.")
    assert blocks_of(message) == {"prompt": neutralize(text), "answer": neutralize(text)}


@given(st.lists(st.sampled_from([*CONTROL_TOKENS, "<", "|", ">", "[", "]", "/", "s", " "])).map("".join))
def test_no_control_token_remains(text: str) -> None:
    result = neutralize(text).lower()
    assert not any(token.lower() in result for token in CONTROL_TOKENS)


@pytest.mark.parametrize("text", ["a < b || c > d", "x = [INSTALL]", "<b>bold</b>", "1 <2> 3", "<small>", "a|b"])
def test_other_texts_do_not_change(text: str) -> None:
    assert neutralize(text) == text


def test_halves_of_surrogate_pairs_can_be_sent() -> None:
    assert neutralize("a\ud800b") == "a?b"


def test_a_token_in_a_text_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter(["0000beef", "1111beef"])
    monkeypatch.setattr("secrets.token_hex", lambda n: next(draws))
    assert draw_token(["END answer 0000BEEF"]) == "1111beef"


def test_each_message_has_its_own_token(rubric: Rubric) -> None:
    texts = JudgedTexts("Q", "A", "C")
    assert len({judge_request(rubric, texts).messages[-1].content for _ in range(20)}) == 20
