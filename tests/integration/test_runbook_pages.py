"""The page to which alerts link shows each runbook as a page, with its pictures and with links that lead somewhere."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from playwright.sync_api import Browser

from barograph_server.alerts.example import RUNBOOKS

BROKEN_IMAGES = "[...document.images].filter((each) => !each.naturalWidth).map((each) => each.src)"
LINKS = "[...document.links].map((each) => each.getAttribute('href'))"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_each_runbook_is_a_page(browser: Browser) -> None:
    docs = RUNBOOKS.parent
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(docs))) as server:
        threading.Thread(target=server.serve_forever).start()
        screen, faults = browser.new_page(), list[str]()
        screen.on("pageerror", lambda error: faults.append(str(error)))
        root = f"http://127.0.0.1:{server.server_port}/runbooks/show.html?page="
        try:
            for path in sorted(RUNBOOKS.glob("*.md")):
                screen.goto(root + path.name, wait_until="networkidle")
                heading = path.read_text("utf-8").splitlines()[0].removeprefix("# ")
                assert screen.inner_text("h1") == heading
                assert screen.title() == heading
                text = screen.inner_text("main")
                assert not [mark for mark in ("```", "**", "](", "##") if mark in text], path.name
                assert screen.evaluate(BROKEN_IMAGES) == [], path.name
                for link in screen.evaluate(LINKS):
                    page = link.removeprefix("?page=").replace("%2F", "/")
                    assert link.startswith("?page="), f"{path.name}: {link}"
                    assert (RUNBOOKS / page.partition("#")[0]).is_file(), f"{path.name}: {link}"
            screen.goto(f"{root}none.md", wait_until="networkidle")
            assert "There is no page none.md." in screen.inner_text("main")
            for page in ("https://example.org/x.md", "//example.org/x.md", "../../x.md", "javascript:x.md"):
                screen.goto(root + page, wait_until="networkidle")
                assert screen.inner_text("main") == "The address names no page."
            assert faults == []
        finally:
            server.shutdown()
