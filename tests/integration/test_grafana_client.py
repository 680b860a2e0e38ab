"""Errors of an unusable Grafana, and the isolation of its HTTP client from the one of ClickHouse."""

import base64
import hashlib
import importlib.metadata
import json
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from barograph_server.errors import SettingsError
from barograph_server.local.child_process import choose_port
from barograph_server.provisioning.grafana import Grafana, GrafanaError, plan_grafana
from barograph_server.settings import GrafanaSettings
from tests.support.grafana_bundle import apply, bundle, plan
from tests.support.grafana_state import READER_PERMISSIONS
from tests.support.scripted_http import Answer as HttpAnswer
from tests.support.scripted_http import Exchange, hang, reply
from tests.support.stub_grafana import TOKEN, StubGrafana, failing


def plan_error(stub: StubGrafana, settings: GrafanaSettings | None = None) -> str:
    """Return the error of a plan, and check that neither its text nor its traceback contains the token."""
    with pytest.raises(GrafanaError) as caught, Grafana(settings or stub.settings(), timeout_s=5, pause_s=0) as grafana:
        plan_grafana(grafana, bundle())
    assert stub.writes == []
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_a_token_that_is_rejected_and_none(stub: StubGrafana) -> None:
    stub.token = "another"
    text = plan_error(stub)
    assert f"Grafana at {stub.url} rejects the token (401: Invalid API key)" in text
    assert "set BAROGRAPH_GRAFANA_TOKEN to it" in text
    with pytest.raises(SettingsError, match="set BAROGRAPH_GRAFANA_TOKEN to a token of a service account"):
        Grafana(GrafanaSettings(url="http://127.0.0.1:1"))


HOOK = "https://hooks.invalid/services/T0123456/xyzzy-xyzzy"


def test_a_secret_that_grafana_quotes_is_not_shown(stub: StubGrafana) -> None:
    settings: dict[str, str]
    for settings, quote in (
        ({"url": HOOK}, f'Post "{HOOK}": dial tcp: no such host'),
        ({"url": f"{HOOK}?token=xyzzy-xyzzy-token"}, "the token xyzzy-xyzzy-token is not valid"),
        ({"url": "http://a", "authorization_credentials": "xyzzy-xyzzy"}, "invalid Bearer xyzzy-xyzzy"),
        ({"integrationKey": "xyzzy"}, "invalid key xyzzy"),
    ):
        stub.always = failing(400, quote)
        body = {"name": "a", "type": "webhook", "settings": settings}
        with Grafana(stub.settings(), timeout_s=5, pause_s=0) as grafana, pytest.raises(GrafanaError) as caught:
            grafana.write("write contact point a", "POST", "/v1/provisioning/contact-points", body)
        assert "refuses to write contact point a (400: " in str(caught.value)
        assert "xyzzy" not in "".join(traceback.format_exception(caught.value)), quote


def test_a_password_of_the_data_source_that_grafana_quotes_is_not_shown(stub: StubGrafana) -> None:
    stub.faults[1] = failing(400, "cannot connect to clickhouse as reader with swordfish")
    with pytest.raises(GrafanaError, match=r"cannot connect to clickhouse as reader with …") as caught:
        apply(stub)
    assert "swordfish" not in "".join(traceback.format_exception(caught.value))


def test_a_read_only_token_can_plan_and_is_rejected_before_the_first_write(stub: StubGrafana) -> None:
    stub.state.permissions = READER_PERMISSIONS
    assert len(plan(stub).written) == 10
    with pytest.raises(GrafanaError, match=r"it lacks .*dashboards:create.* Nothing was written to Grafana"):
        apply(stub)
    assert stub.writes == []


def test_an_older_grafana_and_a_missing_or_old_plugin_are_rejected(stub: StubGrafana) -> None:
    for version in ("11.6.1", "12.4.0", "9.0.0-beta1"):
        stub.state.version = version
        assert f"has version {version}, but dashboards and rules need 13 or later" in plan_error(stub)
    for version in ("13.0.0", "13.3.0-pre", "14.1", "", "main"):
        stub.state.version = version
        assert plan(stub).written, version
    stub.state.plugins = {"grafana-clickhouse-datasource": "4.9.1"}
    assert "grafana-clickhouse-datasource 4.9.1, but the queries need 4.20.0 or later" in plan_error(stub)
    stub.state.plugins = {}
    text = plan_error(stub)
    assert "lacks the plugin grafana-clickhouse-datasource: install 4.20.0 or later" in text
    assert "GF_PLUGINS_PREINSTALL_SYNC=grafana-clickhouse-datasource@4.20.0" in text


def test_a_server_that_cannot_be_reached_is_explained(stub: StubGrafana) -> None:
    address = f"http://127.0.0.1:{choose_port()}"
    text = plan_error(stub, stub.settings(url=address))
    assert f"Grafana at {address} could not be reached to check its health (Connection refused)" in text
    assert "To apply everything else without it, set BAROGRAPH_GRAFANA_URL to an empty value" in text
    assert "could not be reached" in plan_error(stub, stub.settings(url="http://grafana.invalid"))
    text = plan_error(stub, stub.settings(url=stub.url.replace("http", "https")))
    assert "could not be reached to check its health ([SSL" in text


def test_a_grafana_that_does_not_answer_times_out(stub: StubGrafana) -> None:
    stub.raw = hang
    with (
        pytest.raises(GrafanaError, match=r"did not answer within 0\.2 s to check its health") as caught,
        Grafana(stub.settings(), timeout_s=0.2, pause_s=0) as grafana,
    ):
        plan_grafana(grafana, bundle())
    assert "run the command again" in str(caught.value)
    assert len(stub.requests) == 3


def redirect(exchange: Exchange) -> None:
    exchange.send(status=302, Location=f"{exchange.server.url}/login")


def echo(exchange: Exchange) -> None:
    message = f"what is {exchange.headers['Authorization']}?"
    exchange.send(json.dumps({"message": message}).encode(), 400, Content_Type="application/json")


def test_a_server_that_is_not_grafana_is_explained(stub: StubGrafana) -> None:
    page = reply(b"<!doctype html><title>Sign in</title>", Content_Type="text/html; charset=utf-8")
    another = reply(b'{"status": "green"}', Content_Type="application/json")
    answers: tuple[tuple[HttpAnswer, str], ...] = (
        (page, "returns a web page instead of Grafana's API: set grafana.url to the URL"),
        (another, "is not Grafana: set grafana.url to the URL of Grafana"),
        (redirect, "redirects to another URL: set grafana.url to that URL"),
        (echo, "refuses to check its health (400: what is Bearer …?)."),
    )
    for answer, sentence in answers:
        stub.raw = answer
        stub.requests.clear()
        assert sentence in plan_error(stub)
        # In particular a redirect is not followed, because the request would carry the token.
        assert [request.path for request in stub.requests] == ["/api/health"]


def test_grafana_under_a_path(stub: StubGrafana) -> None:
    stub.path = "/a/b"
    apply(stub)
    assert stub.state.dashboards


def test_commands_load_without_the_client() -> None:
    code = "import sys; sys.modules['grafana_client'] = None; from barograph_server.cli import apply"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys, barograph_server.provisioning.plan; print([name for name in sys.modules if 'niquests' in name])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_client_leaves_urllib3_to_the_warehouse() -> None:
    """urllib3-future's wheel would overwrite urllib3's files when an interpreter starts; see docs/decisions/0019.

    If this fails, the environment was not created by `make sync`: create it again.
    """
    distribution = importlib.metadata.distribution("urllib3")
    files = [file for file in distribution.files or [] if file.hash is not None and file.suffix == ".py"]
    assert len(files) > 30
    changed = []
    for file in files:
        assert file.hash is not None
        digest = hashlib.new(file.hash.mode, Path(file.locate()).read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
            changed.append(str(file))
    assert changed == []
    code = (
        "import clickhouse_connect.driver.httputil as ours; from niquests.packages import urllib3 as theirs; "
        "print(ours.urllib3.__name__, ours.urllib3.__version__, theirs.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["urllib3", importlib.metadata.version("urllib3"), "urllib3_future"]
