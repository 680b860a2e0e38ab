"""Questions of customers with the document that answers them, as a task of inspect-ai.

Each item has a fact of the document. An answer passes if it contains the fact, whatever else it says.
"""

import json
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState, generate

FOLDER = Path(__file__).resolve().parent
VERSION = 1
"""Increase it with every change of the items or of the score: results of two versions are not compared."""


@task
def answers(prompt: str) -> Task:
    """Make the task.

    Args:
        prompt: the path of a JSON file with the members `template`, a list of messages, and `config`, as the registry
            of prompts has them.
    """
    content = json.loads(Path(prompt).read_text(encoding="utf-8"))
    lines = (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    samples = [_sample(json.loads(line), content["template"]) for line in lines]
    return Task(
        version=VERSION,
        dataset=MemoryDataset(samples, name="support-bot"),
        solver=generate(),
        scorer=contains_fact(),
        config=GenerateConfig(**content["config"]),
    )


@scorer(metrics=[accuracy(), stderr()])
def contains_fact() -> Any:
    """Score 1 if the answer contains the fact; case and white space do not matter."""

    async def score(state: TaskState, target: Target) -> Score:
        answer = state.output.completion
        passes = _normalized(target.text) in _normalized(answer)
        return Score(value=CORRECT if passes else INCORRECT, answer=answer)

    return score


def _sample(item: dict[str, str], template: list[dict[str, str]]) -> Sample:
    document = (FOLDER.parent / "documents" / f"{item['document']}.md").read_text(encoding="utf-8")
    question = f"{document}\n{item['question']}"
    messages = [_message(each["role"], each["content"].replace("{{question}}", question)) for each in template]
    return Sample(id=item["id"], input=messages, target=item["fact"], metadata={"document": item["document"]})


def _message(role: str, content: str) -> ChatMessage:
    return ChatMessageSystem(content=content) if role == "system" else ChatMessageUser(content=content)


def _normalized(text: str) -> str:
    return " ".join(text.split()).casefold()
