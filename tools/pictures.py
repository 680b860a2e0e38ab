"""Capture pages of the preview: `make pictures` those of a running demo, `make screenshots` those of planted incidents.

With --report, capture a page that `barograph report` wrote.

Screenshots show each page in every scene that the tests look at (`tests/support/page_scenes.py`). With them come the
pictures of the runbooks: the panel to which the link of each alert leads. Needs Chromium (on Debian: apt-get install
chromium). The dates in the pictures depend on the day.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from playwright.sync_api import Browser

from barograph_server.dashboards.page_files import panel_ids
from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.local.clickhouse import LocalClickHouse
from tests.support.browser import COMMANDS, PreviewPage, chromium
from tests.support.incident_models import DAY_S, END_S, HOUR_S, INCIDENTS
from tests.support.page_scenes import (
    REPLAY_TIMEOUT_MS,
    SCENES,
    WIDTHS,
    firing_alert,
    open_rows,
    panel_selector,
    served_models,
    walk,
)

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
VARIABLES = "var-model=flight-delay&var-window=7d&var-field=temp&var-version=1"
PAGES = {"fleet": 900, "model": 1150, "field": 1150}
"""Page → height of its picture in pixels, from the top."""
WIDTH = 1400
REPORT_SIZE = (1080, 1420)
OVERVIEW_WIDTH, COST_KNOWN_S = 1440, END_S + 2 * HOUR_S


@contextmanager
def open_screen(browser: Browser, root: str, width: int, height: int) -> Iterator[PreviewPage]:
    """Open a screen on which every panel must be drawn.

    Raises:
        RuntimeError: a panel failed, or the console has an error.
    """
    screen = PreviewPage(browser, root)
    screen.page.set_default_timeout(REPLAY_TIMEOUT_MS)
    screen.page.set_viewport_size({"width": width, "height": height})
    yield screen
    if faults := [*screen.panels("failed"), *screen.faults]:
        raise RuntimeError(f"{screen.page.url}: {faults[0]}")
    screen.page.close()


def capture_demo(browser: Browser, url: str) -> None:
    """Write the pictures of the README and of docs/lineage.md from the dashboards at a URL that the demo printed."""
    address = urlsplit(url)
    query = parse_qs(address.query)
    span = urlencode({end: query[end][0] for end in ("from", "to")})
    for name, height in PAGES.items():
        with open_screen(browser, f"{address.scheme}://{address.netloc}/", WIDTH, height) as screen:
            screen.open(f"/d/{DASHBOARDS[name]}?{span}&{VARIABLES}")
            screen.page.screenshot(path=FOLDER / f"{name}.png")
    with open_screen(browser, f"{address.scheme}://{address.netloc}/", WIDTH, 1000) as screen:
        _capture_lineage(screen, span)


def _capture_lineage(screen: PreviewPage, span: str) -> None:
    """Write the picture of docs/lineage.md."""
    screen.open(f"/d/{DASHBOARDS['model']}?{span}&{VARIABLES}&open={open_rows('model')}")
    panel = screen.page.locator(f'[data-panel="{panel_ids("model")["lineage"]}"]')
    panel.screenshot(path=FOLDER / "lineage.png")


def capture_report(browser: Browser, page: Path) -> None:
    """Write the pictures of a weekly report: its first screen, and performance."""
    screen = browser.new_page(viewport={"width": REPORT_SIZE[0], "height": REPORT_SIZE[1]}, color_scheme="light")
    screen.goto(page.resolve().as_uri())
    screen.screenshot(path=FOLDER / "report.png")
    performance = screen.get_by_role("heading", name="Performance").locator("..")
    performance.screenshot(path=FOLDER / "report-performance.png")
    screen.close()


def capture_incidents(browser: Browser, folder: Path, chosen: str) -> None:
    """Write a screenshot of each scene into a folder, and pictures of runbooks and README; only those with a text."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as data,
        LocalClickHouse(Path(data), port=0) as engine,
        served_models(engine) as served,
    ):
        for incident in (each for each in INCIDENTS if chosen in f"runbook-{each.rule}"):
            models = served["twelve"]
            with open_screen(browser, models.server.url, WIDTHS[0], 1000) as screen:
                walk(screen, models, incident, firing_alert(models.client, incident))
                panel = screen.page.locator(panel_selector(incident))
                panel.screenshot(path=FOLDER / f"runbook-{incident.rule}.png")
        if chosen in "overview":
            with open_screen(browser, served["twelve"].server.url, OVERVIEW_WIDTH, 1000) as screen:
                ends = urlencode({"from": (COST_KNOWN_S - DAY_S) * 1000, "to": COST_KNOWN_S * 1000})
                screen.open(f"/d/{DASHBOARDS['fleet']}?{ends}")
                table = screen.page.locator(f'[data-panel="{panel_ids("fleet")["models_now"]}"] table')
                # Without the last column, which is cut off.
                area, last = table.bounding_box(), table.locator("th").last.bounding_box()
                assert area is not None
                assert last is not None
                area["width"] = last["x"] - area["x"]
                screen.page.screenshot(path=FOLDER / "overview.png", clip=area)
        for scene in (each for each in SCENES if chosen in each.name):
            models = served[scene.models]
            with open_screen(browser, models.server.url, scene.width, 1000) as screen:
                scene.open(screen, models)
                screen.page.screenshot(path=folder / f"{scene.name}.png", full_page=True)


def main() -> int:
    """Return 0 if all pictures were written."""
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=__doc__)
    parser.add_argument("url", nargs="?", help="the URL of the dashboards that the demo printed, including the range")
    parser.add_argument("--incidents", type=Path, metavar="FOLDER", help="capture planted incidents into this folder")
    parser.add_argument("--only", default="", metavar="TEXT", help="only incidents' pictures whose name contains this")
    parser.add_argument("--report", type=Path, metavar="FILE", help="capture this page of `barograph report`")
    arguments = parser.parse_args()
    if sum(map(bool, (arguments.url, arguments.incidents, arguments.report))) != 1:
        parser.error("give one of the URL of a demo, --incidents FOLDER and --report FILE")
    if not any(map(shutil.which, COMMANDS)):
        sys.stderr.write("Chromium is not installed: on Debian, run apt-get install chromium.\n")
        return 1
    with chromium() as browser:
        if arguments.url:
            capture_demo(browser, arguments.url)
        elif arguments.report:
            capture_report(browser, arguments.report)
        else:
            capture_incidents(browser, arguments.incidents, arguments.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
