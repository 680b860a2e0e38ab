"""Chromium of Debian, driven by Playwright, to test pages as users see them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.missing_dependencies import skip_or_fail

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Without these, each start resolves hosts of Google.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 60_000


@contextmanager
def chromium(*switches: str) -> Iterator[Browser]:
    """Start a headless Chromium with further switches. Without one installed the test is skipped; in CI it fails."""
    executable = next(filter(None, map(shutil.which, COMMANDS)), None)
    if executable is None:
        skip_or_fail("no Chromium is installed: on Debian, apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=[*SWITCHES, *switches])
        yield browser
        browser.close()


class PreviewPage:
    def __init__(self, browser: Browser, root: str) -> None:
        self.root = root
        self.page: Page = browser.new_page(viewport={"width": 1400, "height": 1000})
        self.page.set_default_timeout(TIMEOUT_MS)
        self.faults: list[str] = []
        self.page.on(
            "console", lambda entry: self.faults.append(entry.text) if entry.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def open(self, path: str) -> None:
        self.page.goto(self.root.rstrip("/") + path)
        self.wait_drawn()

    def wait_drawn(self) -> None:
        self.page.wait_for_selector("body[data-state]")

    def panels(self, state: str) -> list[str]:
        result = self.page.query_selector_all(f"[data-panel][data-state={state}]")
        return [f"{each.get_attribute('data-panel')} {each.inner_text()[:200]}" for each in result]

    def traces(self, panel: int) -> dict[str, list[tuple[Any, Any]]]:
        """The points of each series that plotly draws in a panel, by name in the legend."""
        drawn = self.page.evaluate(
            """panel => document.querySelector(`[data-panel="${panel}"] .js-plotly-plot`).data
                .filter(trace => trace.showlegend !== false)
                .map(trace => [trace.name, [...trace.x], [...trace.y]])""",
            panel,
        )
        return {name: list(zip(x, y, strict=True)) for name, x, y in drawn}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Close the page; what it logged as an error or a warning is a failure."""
        self.page.close()
        assert kind is not None or self.faults == []
