import ast
import io
import json
import math
import re
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest
from rich.console import Console

import barograph_server
from barograph_server.errors import SettingsError
from barograph_server.local.stack import StackAddresses
from barograph_server.numpy_start import AVX512_SORTS, prepare_numpy
from barograph_server.settings import GrafanaSettings, Settings, load_settings
from barograph_server.signal_wait import SIGNALS, set_on_signal
from barograph_server.terminal import AlignedTable, SafeText, Terminal, one_line, visible
from barograph_server.warehouse.client import Address
from tests.support.environment import documented_environment
from tests.support.pipeline import ROOT

STACK = StackAddresses("127.0.0.1:29092", 28123, {"default": "s3cret", "reader": "r3ader"})


def load(folder: Path, text: str = "", name: str = "barograph.toml", **environ: str) -> Settings:
    (folder / name).write_text(text)
    config = folder / name if name != "barograph.toml" else None
    return load_settings(config, environ=environ, folder=folder, find=lambda: None)


FULL = """
bootstrap_servers = "kafka-1:9092,kafka-2:9092"
topic_prefix = "eu-"
partials_partitions = 8
clock = "replay"
[kafka]
security.protocol = "SASL_SSL"
"socket.keepalive.enable" = true
[clickhouse]
host = "clickhouse"
database = "watch"
secure = true
[processors]
flush_s = 5
flush_events = 1000
"""


def test_a_file_overrides_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, FULL)
    assert settings == Settings(
        bootstrap_servers="kafka-1:9092,kafka-2:9092",
        kafka={"security.protocol": "SASL_SSL", "socket.keepalive.enable": "true"},
        warehouse=Address(host="clickhouse", database="watch", secure=True),
        topic_prefix="eu-",
        partials_partitions=8,
        clock="replay",
        processor_overrides={"flush_s": 5.0, "flush_events": 1000},
    )
    assert (settings.predictions_partitions, settings.warehouse.port) == (4, 8123)


def test_the_environment_overrides_the_file_and_holds_secrets(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        FULL,
        BAROGRAPH_CLICKHOUSE_HOST="elsewhere",
        BAROGRAPH_CLICKHOUSE_PORT="9443",
        BAROGRAPH_CLICKHOUSE_SECURE="false",
        BAROGRAPH_CLICKHOUSE_PASSWORD="swordfish",
        BAROGRAPH_KAFKA_SASL_PASSWORD="xyzzy",
        BAROGRAPH_KAFKA_SECURITY_PROTOCOL="SSL",
        BAROGRAPH_PROCESSORS_FLUSH_S="2",
        BAROGRAPH_HOME="/elsewhere",
        PATH="/bin",
    )
    assert settings.warehouse == Address("elsewhere", 9443, "watch", "default", "swordfish", secure=False)
    assert (settings.kafka["sasl.password"], settings.kafka["security.protocol"]) == ("xyzzy", "SSL")
    assert settings.processor_overrides["flush_s"] == 2.0
    assert not re.search("swordfish|xyzzy", repr(settings))


def test_errors_name_the_file_the_key_and_the_remedy(tmp_path: Path) -> None:
    for text, sentence in (
        ("bootstrap_server = 'k:1'", "the key 'bootstrap_server' is unknown; did you mean bootstrap_servers?"),
        ("[cassandra]\nhost = 'c'", "cassandra: the key 'cassandra' is unknown; write one of"),
        ("partials_partitions = 0", "'0' is out of range or not a whole number; write a whole number from 1 to 10000"),
        ("[clickhouse]\nsecure = 'perhaps'", "clickhouse.secure: 'perhaps' is not a flag; write true or false"),
        ("[processors]\nflush_s = -1", "processors.flush_s: -1 is out of range; write a number above 0, up to 86400"),
        ("[clickhouse]\npassword = 'swordfish'", "set BAROGRAPH_CLICKHOUSE_PASSWORD in the environment"),
        ("[kafka]\nsasl.password = 'xyzzy'", "kafka.sasl.password: this may hold a secret and does not belong"),
        ("[kafka]\nbootstrap.servers = 'k:1'", "write bootstrap_servers at the top of the file instead"),
        ("[grafana]\ntoken = 'xyzzy'", "set BAROGRAPH_GRAFANA_TOKEN in the environment"),
        ("[grafana]\nurl = 'grafana:3000'", "grafana.url: 'grafana:3000' is not an address; write one such as https:"),
        ("[grafana]\nurl = 'http://g/?orgId=1'", "write one such as https://grafana.example.com"),
    ):
        with pytest.raises(SettingsError, match=r"barograph\.toml") as error:
            load(tmp_path, text)
        assert sentence in str(error.value)
        assert not re.search("swordfish|xyzzy", str(error.value))


def test_a_yaml_file_has_the_same_keys_and_errors_name_the_line(tmp_path: Path) -> None:
    text = "bootstrap_servers: k:9092\nkafka: {security.protocol: SSL}\nclickhouse: {host: c, port: 9000}\n"
    text += "processors: {revise_s: 2.5}\n"
    settings = load(tmp_path, text, "other.yaml")
    assert settings.kafka == {"security.protocol": "SSL"}
    assert settings.warehouse == Address(host="c", port=9000)
    assert settings.processor_overrides == {"revise_s": 2.5}
    with pytest.raises(SettingsError) as error:
        load(tmp_path, "clock: sun\nclickhouse:\n  port: many\n", "other.yaml")
    first, second = str(error.value).splitlines()
    assert "other.yaml:1: clock: 'sun'" in first
    assert "other.yaml:3: clickhouse.port: 'many'" in second


def test_grafana_is_configured_by_its_address(tmp_path: Path) -> None:
    assert load(tmp_path, FULL).grafana is None
    grafana = "url = ' https://g.example.com/grafana/ '\nfolder = 'Modelle: Größe'\nclickhouse_port = 443\n"
    text = f"{FULL}[grafana]\n{grafana}"
    token = {"BAROGRAPH_GRAFANA_TOKEN": "glsa_xyzzy\n", "BAROGRAPH_GRAFANA_READER_PASSWORD": "swordfish"}
    settings = load(tmp_path, text, **token)
    assert settings.grafana == GrafanaSettings(
        url="https://g.example.com/grafana",
        token="glsa_xyzzy",
        folder="Modelle: Größe",
        clickhouse_port=443,
        reader_password="swordfish",
    )
    assert settings.alerts.grafana_url == "https://g.example.com/grafana", "messages link to it"
    assert not re.search("swordfish|xyzzy", repr(settings))
    # The commands that need no Grafana need no token.
    assert load(tmp_path, text).grafana is not None
    assert load(tmp_path, text, BAROGRAPH_GRAFANA_URL="", **token).grafana is None


@pytest.mark.parametrize("url", ["https://admin:xyzzy@g", "admin:xyzzy@g", "https://admin:xyzzy@g:port"])
def test_an_address_with_a_password_is_rejected_without_showing_it(tmp_path: Path, url: str) -> None:
    wrong = "BAROGRAPH_GRAFANA_URL: the address holds a user name or a password"
    with pytest.raises(SettingsError, match=wrong) as error:
        load(tmp_path, "", BAROGRAPH_GRAFANA_URL=url)
    assert "xyzzy" not in str(error.value)


def test_wrong_variables_are_rejected_without_showing_secrets(tmp_path: Path) -> None:
    for name, value, text in (
        ("GRAFANA_TOKEN", "xyz zy", "has characters that no token has"),
        ("GRAFANA_TOKEN", "xyzzy\u00e9", "has characters that no token has"),
        ("GRAFANA_TOKEN", "xyz\nX: 1", "has characters that no token has"),
        ("CLICKHOUSE_SECURE", "", "environment: BAROGRAPH_CLICKHOUSE_SECURE: '' is not a flag"),
        ("TOPIC_PREFFIX", "x", "is not a setting; did you mean BAROGRAPH_TOPIC_PREFIX"),
    ):
        with pytest.raises(SettingsError) as error:
            load(tmp_path, "", **{f"BAROGRAPH_{name}": value})
        assert text in str(error.value)
        assert "xyz" not in str(error.value)
    settings = load(tmp_path, FULL, BAROGRAPH_CLICKHOUSE_SECURE="0", BAROGRAPH_TOPIC_PREFIX="")
    assert (settings.warehouse.secure, settings.topic_prefix) == (False, "")
    assert load(tmp_path, FULL, BAROGRAPH_CLICKHOUSE_PASSWORD="~").warehouse.password == "~"


def test_every_variable_that_code_or_documents_name_is_accepted_and_listed(tmp_path: Path) -> None:
    command = ("git", "grep", "-hIoE", r"\bBAROGRAPH_[A-Z0-9_]*[A-Z0-9]\b", "--", ":!tests", ":!CHANGELOG.md")
    named = {*subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()}
    listed = documented_environment(tmp_path) | {"BAROGRAPH_BOOTSTRAP_SERVERS": "k:1"}
    properties = {name for name in named if name.startswith("BAROGRAPH_KAFKA_")}
    assert named - properties <= {*listed}
    rows = re.findall(r"^\|[^|]*\| `(BAROGRAPH_\w+)`", (ROOT / "docs/commands.md").read_text(), re.MULTILINE)
    assert {*rows} == {*listed, "BAROGRAPH_KAFKA_PROPERTY"}
    load(tmp_path, FULL, **dict.fromkeys(properties, "x"), **listed)
    text = FULL + "[alerts.contact_points.a.slack]\nurl_variable = 'BAROGRAPH_SLACK_URL'\n"
    load(tmp_path, text, BAROGRAPH_SLACK_URL="https://slack.invalid")


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere.toml cannot be read: No such file or directory"):
        load_settings(tmp_path / "nowhere.toml", environ={}, find=lambda: None)
    with pytest.raises(SettingsError, match=r"gone.toml cannot be read"):
        load_settings(environ={"BAROGRAPH_CONFIG": str(tmp_path / "gone.toml")}, find=lambda: None)


def test_the_local_stack_is_used_only_if_no_server_is_configured(tmp_path: Path) -> None:
    settings = load_settings(environ={}, folder=tmp_path, find=lambda: STACK)
    assert settings.bootstrap_servers == "127.0.0.1:29092"
    assert settings.warehouse == Address("127.0.0.1", 28123, password="s3cret")
    assert "s3cret" not in repr(settings)
    environ = {"BAROGRAPH_BOOTSTRAP_SERVERS": "k:9092"}
    with pytest.raises(SettingsError, match=r"No ClickHouse is configured: set clickhouse.host in barograph.toml"):
        load_settings(environ=environ, folder=tmp_path, find=lambda: STACK)
    assert load_settings(environ=environ, needs=("kafka",), folder=tmp_path, find=lambda: STACK)
    with pytest.raises(SettingsError, match=r"No Kafka is configured.*barograph dev"):
        load_settings(environ={}, folder=tmp_path, find=lambda: None)


def test_arguments_of_the_command_override_the_processors_settings() -> None:
    settings = Settings(
        bootstrap_servers="k:1",
        topic_prefix="p-",
        instance="one",
        kafka={"a": "b"},
        processor_overrides={"flush_events": 7},
    )
    one = settings.processor()
    assert (one.instance, one.clock, one.topics.partials, one.flush_events) == ("one", "live", "p-partials", 7)
    other = settings.processor(instance="two", clock="replay")
    assert (other.instance, other.clock, other.kafka) == ("two", "replay", {"a": "b"})
    assert Settings(bootstrap_servers="k:1").processor().instance


def test_names_in_the_alerts_section_may_hold_any_character_and_its_errors_no_secret(tmp_path: Path) -> None:
    point = '[alerts.contact_points."a.b #1".slack]\nurl_variable = "SLACK_URL"\n'
    settings = load(tmp_path, FULL + point + '[alerts.routes."#x.y"]\npage = "a.b #1"\n')
    assert settings.alerts.route("#x.y").point("page") == "a.b #1"
    wrong = r"barograph.toml: alerts.contact_points.a.slack.url: this may hold"
    with pytest.raises(SettingsError, match=wrong) as error:
        load(tmp_path, FULL + '[alerts.contact_points.a.slack]\nurl = "https://hooks.invalid/secret"\n')
    assert "hooks.invalid" not in str(error.value)


FUNCTIONS = ("apply", "backfill", "check", "compare", "decide", "evaluate", "infer", "plan", "rates", "skew")


def test_every_public_name_resolves_and_is_known_to_type_checkers() -> None:
    tree = ast.parse(Path(barograph_server.__file__).read_text("utf-8"))
    block = next(each for each in tree.body if isinstance(each, ast.If))
    imports = [each for each in block.body if isinstance(each, ast.ImportFrom)]
    typed = {alias.name: f"{each.module}" for each in imports for alias in each.names}
    assert sorted(typed) == sorted(barograph_server.__all__)
    assert {*FUNCTIONS, *barograph_server.__all__} <= set(dir(barograph_server))
    for name, module in typed.items():
        assert getattr(barograph_server, name) is getattr(import_module(module), name)
        assert not Path(barograph_server.__file__).with_name(name).exists(), "a package has the name of a function"
    for name in FUNCTIONS:
        assert getattr(barograph_server, name).__doc__, name
    with pytest.raises(AttributeError, match="module 'barograph_server' has no attribute 'comparison'"):
        _ = barograph_server.comparison


def test_the_import_loads_no_library() -> None:
    heavy = "{'numpy', 'scipy', 'pyarrow', 'confluent_kafka', 'clickhouse_connect', 'faust', 'chdb', 'typer'}"
    code = f"import barograph_server, sys; dir(barograph_server); print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_files_beside_a_program_replace_no_module(tmp_path: Path) -> None:
    for name in ("cli.py", "streams.py", "warehouse.py", "alerts/rules.py", "examples/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('a file of the user was imported')\n")
    command = Path(sys.executable).with_name("barograph")
    code = "from barograph_server import compare; print(compare.__module__)"
    for words, expected in (
        ((sys.executable, "-c", code), "barograph_server.batch.compare.compare"),
        ((command, "--help"), "Usage: barograph"),
    ):
        result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert expected in result.stdout


ZEN_4 = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nflags\t\t: fpu avx2 avx512f avx512vl\n"
ZEN_3, ZEN_5 = ZEN_4.replace(" avx512f avx512vl", ""), ZEN_4.replace(": 25", ": 26")
XEON = ZEN_4.replace("AuthenticAMD", "GenuineIntel").replace(": 25", ": 6")


def test_zen_4_alone_uses_the_avx2_sorts(tmp_path: Path) -> None:
    def prepared(cpuinfo: str, **environ: str) -> dict[str, str]:
        file = tmp_path / "cpuinfo"
        file.write_text(f"{cpuinfo}\n{cpuinfo.replace('flags', 'bugs')}", encoding="utf-8")
        prepare_numpy(environ, file)
        return environ

    assert prepared(ZEN_4)["NPY_DISABLE_CPU_FEATURES"] == AVX512_SORTS
    for cpuinfo in (ZEN_3, ZEN_5, XEON, ""):
        assert prepared(cpuinfo) == {"OPENBLAS_NUM_THREADS": "1"}, cpuinfo
    environ: dict[str, str] = {}
    prepare_numpy(environ, tmp_path / "none")
    assert environ == {"OPENBLAS_NUM_THREADS": "1"}
    chosen = {"OPENBLAS_NUM_THREADS": "2", "NPY_DISABLE_CPU_FEATURES": "AVX512_ICL"}
    assert prepared(ZEN_4, **chosen) == chosen


def test_a_signal_that_interrupts_a_wait_with_its_lock_held_ends_it() -> None:
    before = {each: signal.getsignal(each) for each in SIGNALS}
    stop = threading.Event()
    set_on_signal(stop)
    try:
        with stop._cond:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)
        assert stop.wait(10)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def make_terminal() -> tuple[Terminal, io.StringIO]:
    output = io.StringIO()
    return Terminal(Console(file=output, width=80, legacy_windows=False)), output


def test_control_characters_become_visible() -> None:
    for text, shown in (
        ("plain – ünï 名 🙂", "plain – ünï 名 🙂"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x9b31m", "\\u009b31m"),
        ("new\rline\b", "new␍line␈"),
        ("del\x7f", "del␡"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("two\nlines\tand", "two\nlines\tand"),
    ):
        assert visible(text) == shown
        terminal, output = make_terminal()
        terminal.line(text)
        terminal.line(SafeText("").append(text, "bold"))
        assert "\x1b" not in output.getvalue()
        if "\t" not in text:
            assert output.getvalue().count(shown) == 2
        table = AlignedTable("a")
        table.row(text)
        terminal.table(table)
        assert "\x1b" not in output.getvalue()


def test_text_is_never_markup() -> None:
    terminal, output = make_terminal()
    terminal.line("[red]name[/red] [link=file:///etc]x[/link]")
    assert output.getvalue() == "[red]name[/red] [link=file:///etc]x[/link]\n"
    assert one_line("a\nb\x1bc") == "a b c"


def test_tables_never_wrap_in_a_pipe() -> None:
    table = AlignedTable("name", "n", numbers=("n",))
    table.row("x" * 100, "1,200")
    terminal, output = make_terminal()
    terminal.table(table)
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    assert lines == [f"{'name':<100}      n", f"{'x' * 100}  1,200"]


def test_json_has_null_for_numbers_that_are_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().json({"a": [1.5, math.nan, math.inf], "at": datetime(2026, 3, 1, tzinfo=UTC), "t": ("é",)})
    output = json.loads(capsys.readouterr().out)
    assert output == {"a": [1.5, None, None], "at": "2026-03-01T00:00:00+00:00", "t": ["é"]}
