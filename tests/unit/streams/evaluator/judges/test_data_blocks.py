"""No text can end its block or leave the data of its message."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.streams.evaluator.judges.messages import data_message, draw_token, judge_request, neutralize
from barograph_server.streams.evaluator.judges.rubric import JudgedTexts, Rubric
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


def test_an_attack_stays_in_its_block(rubric: Rubric) -> None:
    assert len(ATTACKS) == 20
    harmless = judge_request(rubric, JudgedTexts("Q", "A", "C")).messages
    for attack in (each.format(answer="Black.") for each in ATTACKS.values()):
        for texts in (JudgedTexts("Q", attack, "C"), JudgedTexts(attack, "A", "C"), JudgedTexts("Q", "A", attack)):
            messages = judge_request(rubric, texts).messages
            assert messages[:-1] == harmless[:-1], "nothing of a text is outside the last message"
            assert messages[-1].role == "user"
            assert blocks_of(messages[-1].content) == {name: neutralize(texts.text_of(name)) for name in rubric.inputs}
            assert not any(token.lower() in messages[-1].content.lower() for token in CONTROL_TOKENS)
        assert neutralize(attack).replace(" ", "") == attack.replace(" ", ""), "a judge sees all of the attack"


@settings(max_examples=50)
@given(st.text())
def test_any_text_stays_in_its_block(text: str) -> None:
    token = draw_token([text])
    message = data_message([("prompt", text), ("answer", text)], token, "Judge.")
    assert blocks_of(message) == {"prompt": neutralize(text), "answer": neutralize(text)}


@settings(max_examples=50)
@given(st.lists(st.sampled_from([*CONTROL_TOKENS, "<", "|", ">", "[", "]", "/", "s", " "])).map("".join))
def test_no_control_token_remains(text: str) -> None:
    result = neutralize(text).lower()
    assert not any(token.lower() in result for token in CONTROL_TOKENS)


def test_other_texts_do_not_change_and_halves_of_surrogate_pairs_can_be_sent() -> None:
    for text in ("a < b || c > d", "x = [INSTALL]", "<b>bold</b>", "1 <2> 3", "<small>", "a|b"):
        assert neutralize(text) == text
    assert neutralize("a\ud800b") == "a?b"


def test_each_message_has_its_own_token_that_no_text_has(rubric: Rubric, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = JudgedTexts("Q", "A", "C")
    assert len({judge_request(rubric, texts).messages[-1].content for _ in range(20)}) == 20
    draws = iter(["0000beef", "1111beef"])
    monkeypatch.setattr("secrets.token_hex", lambda n: next(draws))
    assert draw_token(["END answer 0000BEEF"]) == "1111beef"
