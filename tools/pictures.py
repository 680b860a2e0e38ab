"""Capture the dashboards of a running demo for the docs: `make pictures` while `make demo` is running.

Needs Chromium (on Debian: apt-get install chromium). The dates in the pictures depend on the day of the demo.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
VARIABLES = "var-model=flight-delay&var-window=7d&var-field=temp&var-version=1"
PAGES = {"fleet": 900, "model": 1150, "field": 1150}
"""Page → height of its picture in pixels, from the top."""
WIDTH = 1400
TIMEOUT_MS = 120_000


def capture(page: Page, root: str, span: str, name: str, height: int) -> None:
    """Write the picture of a page when all its panels are drawn.

    Raises:
        RuntimeError: a panel failed.
    """
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.goto(f"{root}d/barograph-{name}?{span}&{VARIABLES}")
    page.wait_for_selector("body[data-state]", timeout=TIMEOUT_MS)
    failed = page.query_selector_all("[data-state=failed]")
    if failed:
        raise RuntimeError(f"{name}: {failed[0].inner_text()}")
    page.screenshot(path=FOLDER / f"{name}.png")


def main() -> int:
    """Return 0 if all pictures were written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the URL of the dashboards that the demo printed, including the range")
    address = urlsplit(parser.parse_args().url)
    root = f"{address.scheme}://{address.netloc}/"
    query = parse_qs(address.query)
    span = urlencode({end: query[end][0] for end in ("from", "to")})
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.stderr.write("Chromium is not installed: on Debian, run apt-get install chromium.\n")
        return 1
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for name, height in PAGES.items():
            capture(page, root, span, name, height)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
