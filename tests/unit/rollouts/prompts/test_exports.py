import json
from pathlib import Path
from typing import Any

import pytest
from barograph.prompts.content import PromptContent, PromptMessage, PromptVariable
from barograph.prompts.errors import PromptFileError

from barograph_server.rollouts.prompts.exports import Export, ExportFormat, read_export

MESSAGES = [{"role": "system", "content": "Be {{ how }}."}, {"role": "user", "content": "{{question}}"}]
CHAT = (PromptMessage("system", "Be {{ how }}."), PromptMessage("user", "{{question}}"))
VARIABLES = {"how": PromptVariable(), "question": PromptVariable()}


def exported(tmp_path: Path, kind: ExportFormat, document: Any) -> Export:
    path = tmp_path / "export.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return read_export(path, kind)


MLFLOW = {
    **{"name": "answer", "creation_timestamp": 1769977763165, "last_updated_timestamp": 1769977763165},
    **{"current_stage": "None", "description": "init", "source": "dummy-source", "run_id": "", "status": "READY"},
    "run_link": "",
}


def mlflow(version: str = "1", text: str = "Say {{x}}", **changes: Any) -> dict[str, Any]:
    tags = {"mlflow.prompt.is_prompt": "true", "mlflow.prompt.text": text, "_mlflow_prompt_type": "text"}
    tags |= changes.pop("tags", {})
    own = {"version": version, "tags": [{"key": key, "value": value} for key, value in tags.items()]}
    return {**MLFLOW, **own, **changes}


def langfuse(**changes: Any) -> dict[str, Any]:
    return {
        "name": "movie-critic",
        "type": "text",
        "prompt": "As a {{criticLevel}} movie critic, do you like {{movie}}?",
        "config": {"model": "small", "temperature": 0.5, "supported_languages": ["en", "fr"]},
        "version": 1,
        "labels": ["production", "latest"],
        "tags": ["movies"],
        "commitMessage": None,
        "resolutionGraph": None,
        **changes,
    }


@pytest.mark.parametrize("wrap", [lambda v: {"model_version": v}, lambda v: {"model_versions": [v]}, lambda v: [v]])
def test_text_of_mlflow(tmp_path: Path, wrap: Any) -> None:
    version = mlflow("12", tags={"_mlflow_prompt_model_config": '{"model_name": "m", "temperature": 0.1}'})
    export = exported(tmp_path, "mlflow", wrap(version | {"aliases": ["best"]}))
    [draft] = export.drafts
    assert draft.content == PromptContent(
        name="answer",
        template="Say {{x}}",
        variables={"x": PromptVariable()},
        config={"model_name": "m", "temperature": 0.1},
        description="init",
    )
    assert (draft.version, draft.origin) == (12, "mlflow")
    assert (export.labels, export.notes) == ((("answer", "best", 12),), ())


def test_chats_are_read(tmp_path: Path) -> None:
    version = mlflow(text=json.dumps(MESSAGES), tags={"_mlflow_prompt_type": "chat"})
    [draft] = exported(tmp_path, "mlflow", [version]).drafts
    assert (draft.content.template, draft.content.variables) == (CHAT, VARIABLES)
    typed = [{"type": "chatmessage", **message} for message in MESSAGES]
    [draft] = exported(tmp_path, "langfuse", langfuse(type="chat", prompt=typed, config=None)).drafts
    assert (draft.content.template, draft.content.variables, draft.content.config) == (CHAT, VARIABLES, {})


def test_text_of_langfuse(tmp_path: Path) -> None:
    newer = langfuse(version=2, prompt="Rate {{movie}}", labels=["staging"], commitMessage="shorter")
    for document in ([newer, langfuse()], {"data": [newer, langfuse()]}):
        export = exported(tmp_path, "langfuse", document)
        first, second = export.drafts
        assert (first.version, second.version, second.content.description) == (1, 2, "shorter")
        assert first.content.config["supported_languages"] == ["en", "fr"]
        assert list(first.content.variables) == ["criticLevel", "movie"]
        assert export.labels == (("movie-critic", "production", 1), ("movie-critic", "staging", 2))


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    model = mlflow("2") | {"name": "churn", "tags": []}
    version = mlflow(tags={"_mlflow_prompt_response_format": "{}"})
    export = exported(tmp_path, "mlflow", [model, version])
    assert len(export.drafts) == 1
    left_out = ("entry 1 (churn@2) is a model, not a prompt", "the response format of answer@1 is not imported")
    assert export.notes == left_out


@pytest.mark.parametrize(
    ("kind", "entry", "message"),
    [
        ("mlflow", mlflow("x"), "its version 'x' is not a whole number of at least 1"),
        ("mlflow", mlflow(name=None), "has no name"),
        ("mlflow", mlflow(text="{% if x %}y{% endif %}"), "line 1 of its text: '{% if x %}' is a statement of Jinja"),
        ("mlflow", mlflow(text="{{ user.name }}"), "'{{ user.name }}' is not a placeholder"),
        ("mlflow", mlflow(text="[", tags={"_mlflow_prompt_type": "chat"}), "tag mlflow.prompt.text is not JSON"),
        ("mlflow", 3, "entry 2: is no object"),
        ("langfuse", {"name": "a", "versions": [1], "labels": []}, "has no member prompt; export single versions"),
        ("langfuse", langfuse(prompt=[{"type": "placeholder", "name": "history"}]), "message placeholder 'history'"),
        ("langfuse", langfuse(prompt=[{"role": "narrator", "content": "x"}]), "the role 'narrator'; known are system"),
        ("langfuse", langfuse(prompt="@@@langfusePrompt:name=a|label=b@@@"), "refers to another prompt"),
        ("langfuse", langfuse(prompt="x" * 200_001), "is too long; at most 200,000 characters"),
    ],
)
def test_what_cannot_be_imported_is_named_with_its_entry(
    tmp_path: Path, kind: ExportFormat, entry: Any, message: str
) -> None:
    valid = mlflow() if kind == "mlflow" else langfuse()
    with pytest.raises(PromptFileError) as caught:
        exported(tmp_path, kind, [valid, entry])
    [problem] = caught.value.problems
    assert message in problem.message
    assert problem.message.startswith("entry 2")


def test_files_that_are_no_export_are_refused(tmp_path: Path) -> None:
    problem = r"export\.json: (cannot be read as JSON|has no prompt|is nested too)"
    for text in ("", "{", '{"model_versions": []}', "[" * 100_000, '[{"a": NaN}]'):
        with pytest.raises(PromptFileError, match=problem):
            exported(tmp_path, "mlflow", text)
    with pytest.raises(PromptFileError, match=r"cannot be read as JSON: No such file or directory; give an export"):
        read_export(tmp_path / "none.json", "langfuse")
