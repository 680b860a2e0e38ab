"""Pages and pictures from the templates of this package: without scripts, and without references to other files.

Every value that a template writes is escaped, on one line, with control characters as symbols.
"""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from barograph_server.terminal import cut, escaped, percentage, plural, ratio, visible


def _shown(value: Any) -> Any:
    return value if hasattr(value, "__html__") else visible(str(value)).replace("\n", "␊")


_ENVIRONMENT = Environment(
    loader=PackageLoader("barograph_server.html"),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _polyline(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


_ENVIRONMENT.filters |= {
    "cut": cut,
    "escaped": escaped,
    "percentage": percentage,
    "plural": plural,
    "polyline": _polyline,
    "px": "{:.1f}".format,
    "ratio": ratio,
    "thousands": "{:,}".format,
}


def render(template: str, /, **values: Any) -> Markup:
    """Render a template: a page's fragment with its own styles, or a picture."""
    return Markup(_ENVIRONMENT.get_template(template).render(values))  # noqa: S704 - it escapes all values


def html_page(title: str, fragment: Markup) -> str:
    return str(render("page.html", title=title, fragment=fragment))


def badge(level: str, text: str = "") -> Markup:
    """Mark a text, by default the level itself, with the color of a level."""
    return _part("badge", level, text)


def level_badge(level: str) -> Markup:
    """Name a level, with its color and its symbol."""
    return _part("level_badge", level)


def _part(name: str, *arguments: str) -> Markup:
    part: Markup = getattr(_ENVIRONMENT.get_template("parts.html").module, name)(*arguments)
    return part
