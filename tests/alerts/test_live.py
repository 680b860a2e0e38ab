import dataclasses
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
import yaml
from barograph.contract.file import dump_contract, parse_contract

from barograph_server.alerts import AlertSettings, read_alert_settings, rules_for, rules_of, webhooks
from barograph_server.alerts.routing import Policy, branch
from barograph_server.alerts.rule import Rule
from barograph_server.alerts.simulator import Alert, Notification
from barograph_server.alerts.simulator.notify import destination
from barograph_server.alerts.wall_clock import LiveAlerts
from barograph_server.alerts.webhooks import AlertMessage, Sender
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.operations.simulation.live import run_live
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseBusy
from barograph_server.warehouse.tables import insert_rows
from tests.support.alerting import ODD, contracts, installation
from tests.support.pipeline import wait_for
from tests.support.scripted_http import Exchange, ScriptedServer
from tests.support.warehouse import row

HOUR_S = 3600
CONTRACT = parse_contract(
    "contract: 1\nmodel: m\nroute: hook\nwindows: [{length: 1h, hop: 1m}]\n"
    "fields: {temp: {type: float, critical: true}}\n"
    "alerts: {for: 1m, keep_firing_for: 0s, rules: {silence: {severity: none}, pipeline-lag: {severity: none}}}"
)


class WebhookServer(ScriptedServer):
    def __init__(self) -> None:
        self.answers: list[int | float] = []
        """Status of the next answers, then 200; a float delays the answer by so many seconds."""
        self.quotes = False
        """Whether the reason of an answer quotes the path of the request, as some servers do."""
        super().__init__(self._receive)
        self.hook_url = f"{self.url}/hook"

    def _receive(self, exchange: Exchange) -> None:
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, float):
            self.stopping.wait(answer)
            answer = 200
        headers = {"Location": f"{self.url}/elsewhere"} if 300 <= answer < 400 else {}
        exchange.send(b"", answer, reason=f"No {exchange.path}" if self.quotes else None, **headers)

    @property
    def bodies(self) -> list[Any]:
        return [request.json() for request in self.requests]


@pytest.fixture
def hook() -> Iterator[WebhookServer]:
    with WebhookServer() as server:
        yield server


def settings() -> AlertSettings:
    points = {
        "hook": {"webhook": {"url_variable": "HOOK", "bearer_variable": "TOKEN"}},
        "platform": {"slack": {"url_variable": "SLACK"}},
    }
    return read_alert_settings({"contact_points": points, "default": "hook", "platform": "platform"}, "s.toml")


def verdict(end: int, psi: float, record_seq: int) -> dict[str, Any]:
    return row(
        "drift",
        **{"model": "m", "version": "1", "slice": "all", "field": "temp", "window": "1h", "n": 5000},
        **{"window_start": end - HOUR_S, "window_end": end, "psi": psi, "psi_low": psi, "psi_high": psi},
        **{"level": "major" if psi > 0.2 else "stable", "judged_at": end * 1000, "record_seq": record_seq},
    )


def psi_pages(known: AlertSettings) -> list[Rule]:
    return [rule for rule in rules_of(CONTRACT, known) if rule.name.startswith("psi") and rule.severity == "page"]


def test_an_alert_goes_through_its_states_and_is_sent(client: Client) -> None:
    reports: list[str] = []
    known = dataclasses.replace(settings(), grafana_url="https://grafana.example")
    live = LiveAlerts(psi_pages(known), known, reports.append)
    start = int(time.time()) // 60 * 60
    insert_rows(client, "drift", [verdict(start, 0.5, 1)])
    messages = {at: live.step(client, at) for at in range(start, start + 100, 10)}
    at = f"{datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M} UTC"
    summary = f"PSI of temp is 0.50 in the 1h window until {at}, version 1; the threshold is 0.2. Drifting since {at}."
    assert reports[:2] == [f"{state}: m: inputs drift (page) temp: {summary}" for state in ("Pending", "Alerting")]
    assert [at - start for at, messages in messages.items() if messages] == [90]
    ((message, alerts),) = messages[start + 90]
    assert (message.point, alerts[0].summary) == ("hook", f"m: {summary}")
    assert alerts[0].advice.startswith("Predictions for these inputs may be wrong. First: ")
    assert alerts[0].runbook_url.endswith("/psi-major.html")
    assert alerts[0].page_url == (
        "https://grafana.example/d/barograph-field?viewPanel=21&var-model=m&var-field=temp"
        f"&from={(start - 3 * HOUR_S) * 1000}&to={start * 1000}&var-window=1h&var-version=1"
    )
    insert_rows(client, "drift", [verdict(start + 60, 0.01, 2)])
    later = [live.step(client, at) for at in range(start + 120, start + HOUR_S + 900, 300)]
    ((message, alerts),) = [each for messages in later for each in messages]
    assert (len(message.firing), len(message.resolved)) == (0, 1)
    assert message.at > start + 120 + HOUR_S, "an incident stays open for one window after its last instance"


def test_an_instance_that_fires_again_in_an_open_incident_is_not_sent_again(client: Client) -> None:
    reports: list[str] = []
    known = settings()
    live = LiveAlerts(psi_pages(known), known, reports.append)
    start = int(time.time()) // 60 * 60
    values = [0.5, 0.5, 0.01, 0.01, 0.5, 0.5, 0.5]
    insert_rows(client, "drift", [verdict(start + 600 * i, psi, i + 1) for i, psi in enumerate(values)])
    steps = [live.step(client, at) for at in range(start, start + 4200, 300)]
    sent = [notification for step in steps for notification, _ in step]
    assert [(len(each.firing), len(each.resolved)) for each in sent] == [(1, 0)]
    assert sent[0].group == (("model", "m"), ("incident", "drift of temp"))
    assert sum(line.startswith("Alerting") for line in reports) == 2
    assert [line for line in reports if line.startswith("Incident")] == ["Incident (page): m: drift of temp"]


def test_an_unavailable_warehouse_alerts_the_platform_team_and_clears_nothing(client: Client) -> None:
    reports: list[str] = []
    known = settings()
    (rule,) = (rule for rule in rules_of(CONTRACT, known) if rule.name == "psi-major")
    live = LiveAlerts([rule], known, reports.append)
    start = int(time.time()) // 60 * 60
    insert_rows(client, "drift", [verdict(start, 0.5, 1)])

    unavailable = create_autospec(Client, instance=True)
    unavailable.rows.side_effect = WarehouseBusy("ClickHouse at nowhere does not answer.", 210)
    for at in (start, start + 60, start + 100):
        live.step(client, at)
    steps = [each for at in range(start + 120, start + 260, 10) for each in live.step(unavailable, at)]
    ((messages, (failed,)),) = steps
    assert messages.point == "platform"
    assert failed.summary == "m: inputs drift (page) cannot be evaluated: ClickHouse at nowhere does not answer."
    assert sum("cannot be evaluated" in line for line in reports) == 1, "logged once, not on every retry"
    assert not any(line.startswith("Normal") for line in reports)
    back = [each for at in range(start + 300, start + 700, 10) for each in live.step(client, at)]
    ((messages, (recovered,)),) = [each for each in back if each[0].resolved]
    assert (messages.point, len(messages.resolved)) == ("platform", 1)
    assert recovered.summary == "m: inputs drift (page) can be evaluated again"


PAGE = "https://g.example/d/x"


def message(point: str, *, firing: bool = True) -> tuple[Notification, list[AlertMessage]]:
    alert = Alert((("alertname", "a"), ("model", "m")), 1_790_000_000, None if firing else 1_790_000_600)
    first, second = ((alert,), ()) if firing else ((), (alert,))
    messages = Notification(1_790_000_030, point, (("model", "m"),), first, second, False)
    numbers = {"A": 0.5, "B": float("nan")}
    texts = ("m: inputs <drift>", "PSI is 0.5.", "First: look.", "why", PAGE, "https://runbooks/x.md")
    return messages, [AlertMessage(alert, *texts, numbers)]


def sender(url: str, reports: list[str], **environ: str) -> Sender:
    return Sender(settings(), {"HOOK": url, "TOKEN": "t0k", **environ}, reports.append, pause_s=0.01)


def reports_of(url: str, **environ: str) -> list[str]:
    reports: list[str] = []
    sends = sender(url, reports, **environ)
    sends.send(*message("hook"))
    sends.close()
    assert "xyzzy" not in repr(sends)
    return reports


def test_transient_failures_are_retried_others_reported(hook: WebhookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.1)
    late = 0.3
    failed = "hook: notification by webhook failed: "
    for answers, requests, report in (
        ([503, 500], 3, ""),
        ([503, 500, 502], 3, f"{failed}the server returned 502 Bad Gateway."),
        ([429], 2, ""),
        ([404], 1, f"{failed}the server returned 404 Not Found."),
        ([late], 2, ""),
        ([late] * 3, 3, f"{failed}timed out."),
    ):
        hook.answers = list(answers)
        hook.requests.clear()
        assert reports_of(hook.hook_url) == ([report] if report else []), answers
        assert len(hook.bodies) == requests, answers


def test_a_server_that_quotes_the_path_does_not_reveal_it_and_no_redirect_is_followed(hook: WebhookServer) -> None:
    hook.quotes = True
    for answer, requests in ((404, 1), (500, 3), (302, 1), (307, 1)):
        hook.answers = [answer] * requests
        hook.requests.clear()
        (report,) = reports_of(hook.hook_url.replace("/hook", "/services/T0/xyzzy"))
        assert report.startswith(f"hook: notification by webhook failed: the server returned {answer} ")
        assert "xyzzy" not in report
        assert "services" not in report
        assert ("redirects are not followed" in report, len(hook.bodies)) == (300 <= answer < 400, requests)


def test_an_error_of_the_http_library_shows_no_secret(hook: WebhookServer, capfd: pytest.CaptureFixture[str]) -> None:
    for environ in (
        {"HOOK": "http://127.0.0.1:9/xyzzy path"},
        {"HOOK": "http://user:xyzzy@127.0.0.1:9/"},
        {"HOOK": "http://[xyzzy/"},
        {"HOOK": "http://127.0.0.1:9/xyzzy\nX: 1"},
        {"HOOK": "http://127.0.0.1:port-xyzzy/"},
        {"HOOK": "http://xyzzy\u00e9\u0000.invalid/"},
        {"TOKEN": "xyzzy\nX-Other: 1"},
        {"TOKEN": "xyzzy\u2026"},
    ):
        (report,) = reports_of(hook.hook_url, **environ)
        assert report.startswith(("hook: notification by webhook failed: ", "hook: HOOK is not a URL")), environ
        assert "xyzzy" not in report, environ
    assert "xyzzy" not in str(capfd.readouterr())


def test_a_variable_that_is_not_set_is_reported_once(hook: WebhookServer) -> None:
    reports: list[str] = []
    sends = sender(hook.hook_url, reports, HOOK="")
    for firing in (True, True, False):
        sends.send(*message("hook", firing=firing))
    sends.close()
    assert reports == ["hook: HOOK is not set, so no webhook notification is sent; export it."]


def test_a_contact_point_that_hangs_drops_messages_beyond_the_queue(hook: WebhookServer) -> None:
    hook.answers = [0.3] * 4
    reports: list[str] = []
    environ = {"HOOK": hook.hook_url, "TOKEN": "t0k"}
    sends = Sender(settings(), environ, reports.append, _queue_slots=threading.BoundedSemaphore(4))
    for _ in range(6):
        sends.send(*message("hook"))
    assert sum("was dropped" in line for line in reports) == 2
    sends.close()


def test_the_command_follows_contracts_and_sends_until_it_is_stopped(
    client: Client,
    engine: LocalClickHouse,
    hook: WebhookServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("barograph_server.alerts.routing.GROUP_WAIT_S", 0)
    monkeypatch.setattr("barograph_server.operations.simulation.live.CONTRACTS_S", 0.05)
    monkeypatch.setattr("barograph_server.operations.simulation.live.STEP_S", 0.05)
    insert_rows(client, "drift", [verdict(int(time.time()) // 60 * 60, 0.5, 1)])
    command_settings = Settings(warehouse=engine.address(client.database), alerts=settings())
    stop, environ = threading.Event(), {"HOOK": hook.hook_url, "TOKEN": "x"}
    thread = threading.Thread(target=run_live, args=(command_settings, None, ["psi-major"], stop, environ))
    outputs: list[str] = []

    def has_printed(text: str) -> bool:
        outputs.append(capsys.readouterr().out)
        return text in "".join(outputs)

    thread.start()
    try:
        wait_for(lambda: has_printed("No contract is applied"), "the report that no contract is applied")
        contract = parse_contract(dump_contract(CONTRACT).replace("for: 1m", "for: 0s"))
        insert_rows(client, "contracts", [row("contracts", model="m", yaml=dump_contract(contract), applied_at=1)])
        wait_for(lambda: hook.bodies, "a message to the webhook")
        wait_for(lambda: has_printed("→ hook: 1 firing, 0 resolved"), "the report of the message")
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
    assert hook.requests[0].headers["Authorization"] == "Bearer x"
    (alert,) = hook.bodies[0]["alerts"]
    assert alert["labels"]["field"] == "temp"
    out = "".join(outputs)
    assert "1 rule of 1 model." in out
    assert "Alerting: m: inputs drift (page) temp: PSI of temp is 0.50" in out


OTHERS = "empty"
"""Receiver of alerts that are not ours."""
_HOOK = "http://127.0.0.1:9/"
"""Placeholder for contact point addresses, which are secrets and do not affect routing."""


def to_alertmanager(rules: Iterable[Rule], settings: AlertSettings) -> dict[str, Any]:
    """Convert contact points, policies and mute timings to an Alertmanager configuration, to be written as YAML."""
    own = _route(branch(rules, settings))
    points = [{"name": name, "webhook_configs": [{"url": _HOOK}]} for name in settings.contact_points]
    timings = [{"name": name, "time_intervals": [each.interval]} for name, each in settings.mute_timings.items()]
    return {
        "route": {"receiver": OTHERS, "group_by": ["grafana_folder", "alertname"], "routes": [own]},
        "receivers": [{"name": OTHERS}, *points],
        "time_intervals": timings,
    }


def _route(policy: Policy) -> dict[str, Any]:
    times_s = {
        **{"group_wait": policy.group_wait_s, "group_interval": policy.group_interval_s},
        "repeat_interval": policy.repeat_s,
    }
    lists = {
        "matchers": [f"{label}{how}{_quoted(value)}" for label, how, value in policy.matchers],
        "group_by": list(policy.group_by),
        "mute_time_intervals": list(policy.mute),
        "routes": [_route(child) for child in policy.routes],
    }
    times = {key: f"{seconds}s" for key, seconds in times_s.items() if seconds is not None}
    return {"receiver": policy.point, **{key: value for key, value in lists.items() if value}, **times}


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


SETTINGS = installation()
RULES = rules_for(contracts(), SETTINGS)


@pytest.fixture(scope="module")
def amtool() -> str:
    result = shutil.which("amtool")
    if result is None:
        message = "amtool is missing: install the Debian package prometheus-alertmanager"
        if os.environ.get("CI"):
            raise AssertionError(message)
        pytest.skip(f"NOT TESTED, {message}")
    return result


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alertmanager") / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(to_alertmanager(RULES, SETTINGS), allow_unicode=True), "utf-8")
    return path


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def routed(amtool: str, config: Path, labels: dict[str, str]) -> str:
    arguments = [f"{name}={_quoted(value)}" for name, value in labels.items()]
    done = run(amtool, "config", "routes", "test", f"--config.file={config}", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_configuration_is_valid(amtool: str, config: Path, tmp_path: Path) -> None:
    done = run(amtool, "check-config", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump(to_alertmanager(rules_for(contracts(), AlertSettings()), AlertSettings())))
    assert run(amtool, "check-config", str(plain)).returncode == 0


def test_labels_are_routed_to_their_receiver(amtool: str, config: Path) -> None:
    for labels, receiver in (
        ({"source": "barograph", "route": "#risk", "severity": "page", "model": ODD}, "oncall"),
        ({"source": "barograph", "route": "#risk", "severity": "page", "mute": "retraining"}, "oncall"),
        ({"source": "barograph", "route": "#risk", "severity": "ticket"}, "tickets"),
        ({"source": "barograph", "route": "nulls", "severity": "page"}, "platform"),
        ({"source": "barograph", "route": "platform", "severity": "page"}, "platform"),
        ({"source": "barograph", "severity": "page"}, "tickets"),
        ({"source": "barograph", "route": "#risk", "severity": "page", "alertname": "DatasourceError"}, "platform"),
        ({"source": "else", "severity": "page"}, OTHERS),
    ):
        assert routed(amtool, config, labels) == receiver, labels


def test_alerts_of_every_rule_have_the_receiver_of_the_simulator(amtool: str, config: Path) -> None:
    tree = branch(RULES, SETTINGS)
    known = set()
    for rule in RULES:
        labels = rule.labels | {"alertname": rule.title}
        expected = SETTINGS.route(rule.route).point(rule.severity)
        assert destination(tree, labels).point == expected
        key = (rule.route, rule.severity, rule.labels.get("mute"))
        if key not in known:  # amtool takes a tenth of a second
            known.add(key)
            assert routed(amtool, config, labels) == expected
    assert len(known) > 5
