"""The report of a week as Markdown with GitHub's tables."""

import re
from collections.abc import Sequence

from barograph_server.reports.sections import ReportSection, report_head, report_sections
from barograph_server.reports.weekly_report import WeeklyReport
from barograph_server.terminal import visible

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&]|(?<=:)/|(?<=www)\.|^[-+=](?=\s|$)|^\d+(?=[.)](?:\s|$)))", re.IGNORECASE)
"""What would become markup, HTML, an entity or a link, and what would begin a list or a heading."""


def markdown_text(text: str) -> str:
    """Return text as Markdown on one line, with control characters as symbols."""
    line = visible(text).replace("\n", "␊")
    return _SPECIAL.sub(
        lambda match: f"&#{ord(match[0][0])};{match[0][1:]}" if match[0].isdigit() else f"\\{match[0]}", line
    )


def render_markdown(report: WeeklyReport) -> str:
    head = [
        f"# {markdown_text(f'{report.model}, week {report.week.name}')}",
        markdown_text(report_head(report)),
        f"**{report.answer}**: {markdown_text(report.sentence)}",
    ]
    return "\n\n".join([*head, *(_section(each) for each in report_sections(report))]) + "\n"


def _section(section: ReportSection) -> str:
    parts = [f"## {section.title}"]
    if section.lines:
        parts.append("\n".join(f"- {markdown_text(line)}" for line in section.lines))
    if section.rows:
        marks = ["---:" if i in section.numbers else "---" for i in range(len(section.columns))]
        rows = [section.columns, *section.rows]
        parts.append("\n".join([_row(rows[0]), f"| {' | '.join(marks)} |", *(_row(row) for row in rows[1:])]))
    return "\n\n".join(parts)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"
