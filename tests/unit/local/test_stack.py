from pathlib import Path

import pytest

from barograph_server.local.child_process import LocalStackError
from barograph_server.local.kafka_jars import JAR_LIST, KAFKA_VERSION, Jar, cache_dir, parse_jar_list
from barograph_server.local.stack import LocalStack, default_root


def test_the_root_is_the_environments_or_in_the_current_folder() -> None:
    assert default_root({"BAROGRAPH_HOME": "/data/barograph"}) == Path("/data/barograph")
    assert default_root({}) == default_root({"BAROGRAPH_HOME": ""}) == Path.cwd() / ".barograph"


def test_a_stack_that_was_not_started_has_no_address() -> None:
    with pytest.raises(LocalStackError, match="The local Kafka has no address yet; start it first"):
        _ = LocalStack(Path("/nowhere")).addresses


HASH = "0f" * 32


def test_the_checked_in_list_holds_one_kafka_of_one_version() -> None:
    jars = parse_jar_list(JAR_LIST.read_text(encoding="utf-8"))
    kafka = {jar.artifact: jar.version for jar in jars if jar.group == "org.apache.kafka"}
    assert {"kafka_2.13", "kafka-tools", "kafka-clients", "kafka-server"} <= kafka.keys()
    assert set(kafka.values()) == {KAFKA_VERSION}
    assert "log4j-slf4j-impl" in {jar.artifact for jar in jars}, "the broker would log nothing"
    assert len({jar.filename for jar in jars}) == len(jars) == 92


def test_an_invalid_line_is_rejected_with_its_number() -> None:
    assert parse_jar_list(f"# a note\n\ng.h:a:1.0 {HASH}\n") == (Jar("g.h", "a", "1.0", HASH),)
    for line in ("g:a:1.0", f"g:a {HASH}", "g:a:1.0 0f0f", f"g:a:1.0 {HASH} more"):
        with pytest.raises(LocalStackError, match=r"kafka-jars\.txt, line 2: expected"):
            parse_jar_list(f"# a note\n{line}\n")
    with pytest.raises(LocalStackError, match="line 2: g:a is there twice"):
        parse_jar_list(f"g:a:1.0 {HASH}\ng:a:1.1 {HASH}\n")


def test_the_environment_sets_the_cache_folder() -> None:
    assert cache_dir({"BAROGRAPH_CACHE": "/a/b", "XDG_CACHE_HOME": "/c"}) == Path("/a/b")
    assert cache_dir({"XDG_CACHE_HOME": "/c"}) == Path("/c/barograph")
    assert cache_dir({}) == Path.home() / ".cache" / "barograph"
