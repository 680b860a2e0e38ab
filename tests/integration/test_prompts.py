"""`barograph prompts` on real Kafka and ClickHouse, and serving processes that follow it through outages."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from barograph import Prompts
from barograph.contract.file import parse_contract
from barograph.prompts.prompts import MIN_STALE_S
from confluent_kafka import Producer

from barograph_server.author import author_name
from barograph_server.local.kafka import LocalKafka
from barograph_server.provisioning.topics import TopicAdmin, topic_specs
from barograph_server.settings import Settings, load_settings
from barograph_server.streams.prompts.registry_change import PromptLog
from barograph_server.streams.topics import Topics
from barograph_server.warehouse.client import Client
from tests.support.command_line import call
from tests.support.pipeline import ROOT, wait_for

IN_FORCE_S = 5.0
"""A label change is in force in every client within this time."""
WAIT_S = 90.0
FIRST = "name: answer\nowner: support\ntemplate: 'Answer: {{question}}'\nconfig: {temperature: 0.2}\n"
SECOND = (
    "name: answer\nowner: support\nparent: 1\ntemplate: 'Answer in German: {{question}}'\nconfig: {temperature: 0.9}\n"
)
CHAT = "name: chat\ntemplate:\n- {role: system, content: Be short.}\n- {role: user, content: '{{q}} {{more}}'}\n"


@dataclass
class Registry:
    """The command line with its own topics and database, and prompt files."""

    config: str
    folder: Path
    capture: pytest.CaptureFixture[str]
    client: Client

    @property
    def settings(self) -> Settings:
        return load_settings(Path(self.config))

    def write(self, text: str, name: str = "answer.yaml") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def run(self, *words: str, code: int = 0) -> tuple[list[str], str]:
        ended, out, err = call(self.capture, "prompts", *words, "--config", self.config)
        assert ended == code, (out, err)
        return out.splitlines(), err

    def json(self, *words: str) -> Any:
        return json.loads("\n".join(self.run(*words, "--format", "json")[0]))

    def follow(self, **options: Any) -> Prompts:
        settings = self.settings
        return Prompts(bootstrap_servers=settings.bootstrap_servers, topic_prefix=settings.topic_prefix, **options)


def make_registry(
    bootstrap: str, prefix: str, config: str, tmp_path: Path, capture: pytest.CaptureFixture[str], client: Client
) -> Registry:
    path = Path(config)
    path.write_text(f'bootstrap_servers = "{bootstrap}"\ntopic_prefix = "{prefix}"\n{path.read_text()}')
    folder = tmp_path / "prompts"
    folder.mkdir()
    registry = Registry(config, folder, capture, client)
    topic = Topics(prefix).prompts
    [spec] = [each for each in topic_specs(registry.settings) if each.name == topic]
    TopicAdmin(registry.settings).create(spec)
    return registry


@pytest.fixture
def registry(
    broker: LocalKafka,
    client: Client,
    config: str,
    topic_prefix: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Registry:
    return make_registry(broker.bootstrap_servers, topic_prefix, config, tmp_path, capsys, client)


def test_prompts_are_registered_labelled_rolled_back_and_logged(registry: Registry) -> None:
    path = registry.write(FIRST)
    registry.write(CHAT, "chat.yml")
    assert registry.run("list")[0][0].startswith("No prompt is registered")
    assert registry.run("register", str(registry.folder), "--author", "ana")[0] == ["+ answer@1", "+ chat@1"]
    registry.write(f"# only a comment\n{FIRST}")
    unchanged = ["  answer@1 is unchanged", "  chat@1 is unchanged"]
    assert registry.run("register", str(registry.folder))[0] == unchanged
    registry.write(SECOND)
    assert registry.run("register", path, "--author", "bo")[0] == ["+ answer@2"]
    registry.write(FIRST)
    assert registry.run("register", path)[0] == ["  answer@1 is unchanged"], "an earlier content has its version"
    label = ("label", "answer")
    assert registry.run(*label, "1", "production", "--reason", "start", "--author", "ana")[0] == [
        "~ answer:production 1"
    ]
    assert registry.run(*label, "2", "production", "--reason", "more  German", "--author", "bo")[0] == [
        "~ answer:production 1 → 2"
    ]
    assert registry.run(*label, "2", "production", "--reason", "x")[0] == ["  answer:production points to 2 already"]
    with registry.follow() as prompts:
        assert prompts.wait(WAIT_S)
        assert (prompts.get("answer").id, prompts.get("answer").config) == ("answer@2", {"temperature": 0.9})
        assert registry.run("rollback", "answer", "--reason", "wrong language", "--author", "ana")[0] == [
            "~ answer:production 2 → 1"
        ]
        wait_for(lambda: prompts.get("answer").id == "answer@1", "the rollback", IN_FORCE_S)
        assert prompts.get("chat", version=1).render(q="a", more="b") == [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "a b"},
        ]
    [again] = registry.run("rollback", "answer")[0]
    assert again.startswith("  answer:production was rolled back from 2 to 1 at ")
    assert registry.run("rollback", "answer", "--to", "1")[0] == ["  answer:production points to 1 already"]
    [answer, chat] = registry.json("list")
    assert (answer["versions"], answer["labels"], answer["owner"]) == ([1, 2], {"production": 1}, "support")
    assert (chat["latest"], chat["labels"]) == (1, {})
    assert registry.json("show", "answer")["id"] == "answer@1", "the one in production"
    assert registry.json("show", "answer@2")["labels"] == []
    text = "\n".join(registry.run("show", "answer")[0])
    assert "by ana: wrong language" in text
    assert text.endswith("Answer: {{question}}")
    compared = registry.run("diff", "answer", "production", "2")[0]
    assert compared[:2] == ["--- answer@1", "+++ answer@2"]
    assert [line.strip() for line in compared[2:] if line[0] in "+-"] == [
        *("-  Answer: {{question}}", "+  Answer in German: {{question}}"),
        *('-    "temperature": 0.2', '+    "temperature": 0.9', "-parent:", "+parent: 1"),
    ]
    rows = registry.client.rows
    assert rows(
        "SELECT name, version, is_chat, variables, registered_by FROM prompts FINAL ORDER BY name, version"
    ) == [
        ("answer", 1, False, ["question"], "ana"),
        ("answer", 2, False, ["question"], "bo"),
        ("chat", 1, True, ["q", "more"], "ana"),
    ]
    assert rows(
        "SELECT version, previous, is_rollback, reason, changed_by FROM prompt_labels FINAL ORDER BY sequence"
    ) == [(1, 0, False, "start", "ana"), (2, 1, False, "more German", "bo"), (1, 2, True, "wrong language", "ana")]
    kinds = "SELECT kind, count() FROM changes FINAL GROUP BY kind ORDER BY kind"
    assert rows(kinds) == [("prompt-label", 2), ("prompt-rollback", 1), ("prompt-version", 3)]


def test_what_cannot_be_is_refused_and_unreadable_records_are_ignored(registry: Registry) -> None:
    settings = registry.settings.processor()
    path = registry.write(FIRST)
    # Of two commands at the same time, each decides from what it reads; the one that read first is fenced.
    fenced = PromptLog(settings)
    fenced.lead()
    registry.run("register", path)
    with pytest.raises(
        Exception, match=r"Another process wrote to .*prompts at the same time, and this change was not"
    ):
        fenced.publish(PromptLog(settings).read().records)
    registry.run("label", "answer", "1", "production", "--reason", "start")
    no_parent = registry.write(SECOND.replace("parent: 1", "parent: 9"))
    for words, message in (
        (("label", "answer", "2", "production", "--reason", "x"), "answer has no version 2; it has 1."),
        (
            ("label", "other", "1", "production", "--reason", "x"),
            "No prompt is called other; registered prompts: answer.",
        ),
        (("label", "answer", "1", "a", "--reason", " "), "--reason is empty: state the reason"),
        (("rollback", "answer"), "production of answer has pointed to version 1 only: name the version with --to, of"),
        (("register", no_parent), "parent 9 is no version of answer; it"),
    ):
        out, error = registry.run(*words, code=1)
        assert (out, message in error) == ([], True), error
    assert [each.version for each in PromptLog(settings).read().labels("answer").values()] == [1]
    assert registry.json("list")[0]["versions"] == [1]
    # A version with other variables is reported.
    registry.run("register", registry.write("name: answer\ntemplate: '{{question}} {{context}}'\n"))
    assert registry.run("label", "answer", "2", "production", "--reason", "context")[0] == [
        "~ answer:production 1 → 2",
        "! version 2 requires context: code that does not pass it fails",
    ]
    assert registry.run("rollback", "answer")[0] == [
        "~ answer:production 2 → 1",
        "! version 1 has no variable context: code that passes it fails",
    ]
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    for key, value in ((b"x", b"no JSON"), (b"y", b"{}"), (b"z", None)):
        producer.produce(registry.settings.topics.prompts, value, key)
    assert producer.flush(30) == 0
    out, error = registry.run("list")
    assert out[1].startswith("answer ")
    assert error.startswith("2 unreadable records of the topic are ignored; the last: offset ")
    assert registry.run("label", "answer", "2", "production", "--reason", "again")[0][:2] == [
        "! " + error,
        "~ answer:production 1 → 2",
    ]
    with registry.follow() as prompts:
        assert prompts.wait(WAIT_S)
        assert prompts.get("answer").id == "answer@2"


def test_exports_keep_names_and_versions(registry: Registry) -> None:
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": "Say {{x}}"}]
    versions = [{"name": "answer", "version": str(version), "tags": tags, "aliases": ["best"]} for version in (3, 7)]
    versions[1]["tags"] = [*tags[:1], {"key": "mlflow.prompt.text", "value": "Shout {{x}}"}]
    path = registry.write(json.dumps({"model_versions": versions}), "mlflow.json")
    out = registry.run("register", "--from", "mlflow", path)[0]
    assert out[:2] == ["+ answer@3", "+ answer@7"]
    assert out[2].startswith("  the export has the label best: `barograph prompts label answer 3 best` sets it")
    assert registry.run("register", "--from", "mlflow", path)[0][:2] == [
        "  answer@3 is unchanged",
        "  answer@7 is unchanged",
    ]
    assert registry.run("register", registry.write(FIRST))[0] == ["+ answer@8"], "files continue after them"
    versions[0]["tags"] = [*tags[:1], {"key": "mlflow.prompt.text", "value": "Other {{x}}"}]
    registry.write(json.dumps({"model_versions": versions}), "mlflow.json")
    _, error = registry.run("register", "--from", "mlflow", path, code=1)
    assert "answer@3 has another content in the registry, and versions never change" in error


def test_with_clickhouse_away_clients_follow_and_a_later_command_adds_rows(registry: Registry, tmp_path: Path) -> None:
    reached, broken = registry.config, tmp_path / "broken.toml"
    lines = Path(reached).read_text().splitlines()
    broken.write_text("\n".join("port = 1" if line.startswith("port") else line for line in lines))
    path = registry.write(FIRST)
    with registry.follow() as prompts:
        assert prompts.wait(WAIT_S)
        registry.config = str(broken)
        for words in (
            ("register", path),
            ("label", "answer", "1", "production", "--reason", "start"),
            ("register", registry.write(SECOND, "second.yaml")),
            ("label", "answer", "2", "production", "--reason", "German"),
            ("rollback", "answer"),
        ):
            out, error = registry.run(*words, code=1)
            assert out, "what changed is printed"
            assert error.startswith(
                "Kafka has the change, and clients follow it, but ClickHouse does not have all rows: "
            )
            assert "Run the same command again later" in error
        wait_for(lambda: prompts.get("answer").id == "answer@1", "the rollback", IN_FORCE_S)
        out, error = registry.run("rollback", "answer", code=1)
        assert error.startswith("Nothing had to change in Kafka, but ClickHouse does not have all rows: ")
    assert registry.client.rows("SELECT count() FROM prompt_labels") == [(0,)]
    registry.config = reached
    out, _ = registry.run("rollback", "answer")
    assert out[-1] == "  ClickHouse received 5 rows of earlier commands, which it lacked"
    labels = registry.client.rows("SELECT version, is_rollback FROM prompt_labels FINAL ORDER BY sequence")
    assert labels == [(1, False), (2, False), (1, True)]
    assert registry.client.rows("SELECT count() FROM changes FINAL") == [(5,)]
    assert len(registry.run("rollback", "answer")[0]) == 1, "no row is missing any more"
    assert registry.client.rows("SELECT count() FROM changes") == [(5,)]


@pytest.mark.long
def test_an_outage_of_kafka_leaves_the_last_known_good_and_ends_without_a_restart(
    client: Client, config: str, topic_prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def source(prompts: Prompts) -> str:
        return str(prompts.get("answer").source)

    with LocalKafka(tmp_path / "kafka", port=0) as broker:
        registry = make_registry(broker.bootstrap_servers, topic_prefix, config, tmp_path, capsys, client)

        def follow(cache: Path | None) -> Prompts:
            return registry.follow(cache=cache, fallback={"answer": "Answer: {{question}}"}, stale_s=MIN_STALE_S)

        registry.run("register", registry.write(FIRST))
        registry.run("register", registry.write(SECOND))
        registry.run("label", "answer", "1", "production", "--reason", "start")
        cache = tmp_path / "prompts.json"
        with follow(cache) as prompts:
            assert prompts.wait(WAIT_S)
            broker.stop()
            wait_for(lambda: source(prompts) == "stale", "the outage", WAIT_S)
            assert prompts.get("answer").id == "answer@1"
            assert "Check bootstrap_servers and that the broker runs" in registry.run("list", code=1)[1]
            with follow(cache) as cached, follow(None) as uncached:
                assert (cached.get("answer").id, source(cached)) == ("answer@1", "cache")
                assert (uncached.get("answer").id, source(uncached)) == ("answer@fallback", "fallback")
                broker.start()
                started = [prompts, cached, uncached]
                wait_for(lambda: {source(each) for each in started} == {"registry"}, "the end of the outage", WAIT_S)
                registry.run("rollback", "answer", "--to", "2")
                changed = {"answer@2"}
                wait_for(lambda: {each.get("answer").id for each in started} == changed, "the rollback", IN_FORCE_S)


def test_the_guide_works_as_written(registry: Registry) -> None:
    guide = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
    file, contract = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    client_code, assign_code, labels_code = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    [sql] = re.findall(r"```sql\n(.*?)```", guide, re.DOTALL)
    registry.run("register", registry.write(file), "--author", "ana")
    registry.run("register", registry.write(file.replace("three", "two")))
    registry.run("label", "answer", "1", "production", "--reason", "first version")
    settings = registry.settings
    arguments = f'"{settings.bootstrap_servers}", topic_prefix="{settings.topic_prefix}"'
    names: dict[str, Any] = {}
    code = client_code.replace('"kafka:9092"', arguments).replace("prompts.cache.json", f"{registry.folder}/cache.json")
    exec(code.replace("wait(5.0)", f"wait({WAIT_S})"), names)
    with names["prompts"]:
        assert names["prompt"].id == "answer@1"
        assert names["settings"] == {"model": "smollm2-135m", "temperature": 0.2}
        assert names["messages"][0]["content"] == "You answer in English, in at most three sentences."
        exec(assign_code, names)
        assert names["prompt"].id in ("answer@1", "answer@2")
        registry.run("label", "answer", "2", "candidate", "--reason", "shorter", "--author", "bo")
        wait_for(lambda: names["prompts"].get("answer", label="candidate").id == "answer@2", "the label", WAIT_S)
        exec(labels_code, names | {"user": "user-17"})
        rollback = parse_contract(contract).rollback
        assert rollback is not None
        back = ("rollback", "answer", "--label", rollback.label, "--to", rollback.to, "--author", "bo")
        assert registry.run(*back, "--reason", "errors")[0] == ["~ answer:candidate 2 → 1"]
    registry.run("rollback", "answer", "--to", "2", "--author", "bo", "--reason", "wrong language")
    assert [row[1:] for row in registry.client.rows(sql)] == [
        ("answer:production", "1", "2", "wrong language", "bo"),
        ("answer:candidate", "2", "1", "errors", "bo"),
        ("answer:candidate", "", "2", "shorter", "bo"),
        ("answer:production", "", "1", "first version", author_name(None)),
        ("answer", "", "2", "Answers questions of customers.", author_name(None)),
        ("answer", "", "1", "Answers questions of customers.", "ana"),
    ]
