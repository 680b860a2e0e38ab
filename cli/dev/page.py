"""The dashboards of the local stack in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.settings import Settings
    from local.preview import PreviewServer

PAGE_PORT = 3111
"""Not Grafana's 3000, so that both can be looked at side by side."""


def open_page(settings: Settings, port: int | None) -> PreviewServer:
    """Describe the page of the dashboards; as a context manager it is served.

    Args:
        settings: where ClickHouse is.
        port: where to listen; None is `PAGE_PORT`, or a free port where that is taken.
    """
    from dashboards.pages import dashboards
    from local.preview import PreviewServer
    from local.processes import choose_port

    return PreviewServer([*dashboards().values()], settings.warehouse, port=port or choose_port(PAGE_PORT))
