"""Load times of the preview pages in Chromium: `python -m benchmarks.browser URL`, with the URL that a demo printed.

A page is usable when its range, variables and links are present, and complete when every panel is drawn. Incidents
come last, because their rules are replayed. Each page is loaded once to warm up, then `RUNS` times with an empty cache.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from statistics import median
from urllib.parse import urlsplit

from playwright.sync_api import Browser, sync_playwright

from barograph_server.dashboards.uids import DASHBOARDS
from benchmarks.machine import describe_machine

RUNS = 5
TIMEOUT_MS = 120_000
MOMENTS = {
    "usable": "document.querySelectorAll('#pages a').length > 0 && document.querySelector('#quick').length > 0",
    "complete": "document.querySelector('[data-panel]') && !document.querySelector('[data-panel][data-state=loading]')",
    "incidents": "document.querySelector('#incidents').dataset.state !== undefined",
}
"""Name → the JavaScript condition that holds from that moment on."""
SCRIPT = f"""
    window.moments = {{}};
    const conditions = {{{", ".join(f"{name}: () => {condition}" for name, condition in MOMENTS.items())}}};
    const check = () => {{
        if (document.body)
            for (const [name, isTrue] of Object.entries(conditions))
                if (!(name in window.moments) && isTrue()) window.moments[name] = performance.now();
        if (Object.keys(window.moments).length < {len(MOMENTS)}) requestAnimationFrame(check);
        else document.body.dataset.measured = "";
    }};
    check();
"""


def load(browser: Browser, url: str) -> dict[str, float]:
    """Milliseconds from the request for a page to each of `MOMENTS`."""
    with browser.new_context(viewport={"width": 1400, "height": 1000}) as context:
        page = context.new_page()
        page.add_init_script(SCRIPT)
        page.goto(url)
        # The page's security policy forbids `eval`, which `wait_for_function` needs.
        page.wait_for_selector("body[data-measured]", timeout=TIMEOUT_MS)
        result: dict[str, float] = page.evaluate("window.moments")
        return result


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.browser", description=__doc__)
    parser.add_argument("url", help="the URL of the dashboards that the demo printed, including the range")
    arguments = urlsplit(parser.parse_args().url)
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.stderr.write("Chromium is not installed: on Debian, run apt-get install chromium.\n")
        return 1
    for name, text in describe_machine().items():
        print(f"{name}: {text}")
    print(f"\n| Page | {' | '.join(MOMENTS)} |\n|---|{'--:|' * len(MOMENTS)}")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for page, uid in DASHBOARDS.items():
            url = f"{arguments.scheme}://{arguments.netloc}/d/{uid}?{arguments.query}"
            load(browser, url)
            runs = [load(browser, url) for _ in range(RUNS)]
            cells = [f"{median(run[name] for run in runs):.0f} ms" for name in MOMENTS]
            print(f"| {page} | {' | '.join(cells)} |")
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
