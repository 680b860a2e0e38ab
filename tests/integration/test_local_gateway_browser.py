"""What a page or a link in Chromium can do to the gateway of the local ClickHouse: nothing."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page

from local.clickhouse import LocalClickHouse
from tests.support.browser import chromium
from tests.support.scripted_http import ScriptedServer
from warehouse.client import Client, connect

pytestmark = pytest.mark.long

REBOUND = "rebound.example"
SITE = "site.example"
SECRET = "swordfish"


class Site(ScriptedServer):
    """A web site of someone else: each path answers with the HTML that a test sets."""

    def __init__(self) -> None:
        self.html = ""
        super().__init__(lambda exchange: exchange.send(self.html.encode(), Content_Type="text/html; charset=utf-8"))

    @property
    def url(self) -> str:
        return f"http://{SITE}:{self.port}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules=MAP {SITE} 127.0.0.1, MAP {REBOUND} 127.0.0.1") as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as server:
        yield server


@pytest.fixture(scope="module")
def client(engine: LocalClickHouse) -> Iterator[Client]:
    with connect(engine.address(f"t{uuid.uuid4().hex[:10]}"), create=True) as client:
        yield client
        client.command(f"DROP DATABASE {client.database}")


def visit(page: Page, url: str) -> None:
    """Open a URL as from a mail, a chat or the address bar."""
    page.goto(url, wait_until="load")


def opened(page: Page, site: Site, url: str, sql: str) -> None:
    visit(page, f"{url}?query={quote(sql)}")


def embedded(page: Page, site: Site, url: str, sql: str) -> None:
    target = f"{url}?query={quote(sql)}"
    elements = f'<img src="{target}"><script src="{target}"></script><iframe src="{target}"></iframe>'
    site.html = f'{elements}<link rel="stylesheet" href="{target}"><link rel="prefetch" href="{target}">'
    visit(page, site.url)


def fetched(page: Page, site: Site, url: str, sql: str) -> None:
    site.html = ""
    visit(page, site.url)
    for mode in ("no-cors", "cors"):
        for method, path, body in (("GET", f"?query={quote(sql)}", None), ("POST", "", sql)):
            text = page.evaluate(_FETCH, [url + path, {"mode": mode, "method": method, "body": body}])
            assert SECRET not in text


def posted(page: Page, site: Site, url: str, sql: str) -> None:
    """A form, whose field is named like the beginning of the statement."""
    head, _, tail = sql.partition("=")
    fields = f'<input name="{head}" value="{tail}">'
    site.html = f'<form method="post" enctype="text/plain" action="{url}">{fields}<button>b</button></form>'
    visit(page, site.url)
    with page.expect_navigation():
        page.click("button")


def rebound(page: Page, site: Site, url: str, sql: str) -> None:
    """A page whose name now leads to this machine is of the same origin as the gateway."""
    own = url.replace("127.0.0.1", REBOUND)
    visit(page, f"{own}?query={quote(sql)}")
    assert SECRET not in page.content()
    for method, path, body in (("GET", f"{own}?query={quote(sql)}", None), ("POST", own, sql)):
        text = page.evaluate(
            _FETCH, [path, {"method": method, "body": body, "headers": {"X-ClickHouse-User": "default"}}]
        )
        assert SECRET not in text


_FETCH = """async ([url, options]) => {
    if (options.body === null) delete options.body;
    try { return await (await fetch(url, options)).text(); } catch (error) { return String(error); }
}"""

Way = Callable[[Page, Site, str, str], None]
WAYS: list[Way] = [opened, embedded, fetched, posted, rebound]


@pytest.mark.parametrize("way", WAYS)
def test_no_page_and_no_link_has_an_effect_or_gets_data(
    page: Page, site: Site, engine: LocalClickHouse, client: Client, tmp_path: Path, way: Way
) -> None:
    out, url = tmp_path / "out", f"{engine.url}/"
    statements = [
        f"SELECT '{SECRET}=' INTO OUTFILE '{out}'",
        f"WITH 1 = 1 AS y SELECT '{SECRET}'",
        f"CREATE TABLE {client.database}.t ENGINE = Memory AS SELECT 1 AS a",
    ]
    for sql in statements:
        way(page, site, url, sql)
        assert SECRET not in page.inner_text("body")
        assert all(SECRET not in frame.content() for frame in page.frames if frame.url.startswith(engine.url))
    assert not out.exists()
    assert client.rows(f"SHOW TABLES FROM {client.database}") == []


def test_these_pages_do_reach_the_machine(page: Page, site: Site) -> None:
    """The tests above would pass in a browser that reaches nothing."""
    site.html = "<p>reached</p>"
    for name in (SITE, REBOUND, "127.0.0.1"):
        visit(page, f"http://{name}:{site.port}/")
        assert page.inner_text("body") == "reached"
