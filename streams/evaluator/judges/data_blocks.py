"""Blocks of untrusted text in a message: lines with a random token begin and end each of them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

TOKEN_BYTES = 4
_CONTROL_TOKENS = (
    r"(?<=<)(?=[|｜])",
    r"(?<=[|｜])(?=>)",
    r"(?<=<)(?=/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn)>)",
    r"(?<=<)(?=<\s*/?SYS\s*>>)",
    r"(?<=\[)(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])",
)
"""Places inside the control tokens of chat templates: `<|im_end|>`, `</s>`, `<end_of_turn>`, `[/INST]` and the like.

Some servers parse them in the content of a message too, where they would end the message."""
SPLITS = re.compile("|".join(_CONTROL_TOKENS), re.IGNORECASE)


def neutralize(text: str) -> str:
    """Split control tokens of chat templates with a space, and replace halves of surrogate pairs with `?`."""
    return SPLITS.sub(" ", text).encode("utf-8", "replace").decode()


def draw_token(texts: Sequence[str]) -> str:
    """Draw a random token of 8 hexadecimal digits that no text contains. Longer ones cost tokens of the judge."""
    while True:
        token = secrets.token_hex(TOKEN_BYTES)
        if not any(token in text.lower() for text in texts):
            return token


def data_message(blocks: Sequence[tuple[str, str]], token: str, instruction: str) -> str:
    """Build the content of a message.

    Args:
        blocks: the name and the text of each block.
        token: no text contains it; see `draw_token`.
        instruction: the line after the last block.
    """
    parts = [f"The token of this message is {token}."]
    parts += [f"BEGIN {name} {token}\n{neutralize(text)}\nEND {name} {token}" for name, text in blocks]
    return "\n\n".join((*parts, instruction))
