"""Results of runs, and their figures in docs/reliability.md."""

import textwrap
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.oracle import Verdict
from tests.support.pipeline import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


@dataclass
class Result:
    scenario: str
    seed: int
    seconds: float
    verdict: Verdict
    done: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    stops_s: list[float] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    must_fail: bool = False

    @property
    def passed(self) -> bool:
        """Whether the run has the required result: no differences, or with a sabotage at least one."""
        return not self.verdict.failed and self.verdict.holds != self.must_fail

    def summary(self) -> str:
        lost, doubled = sum(self.verdict.lost.values()), sum(self.verdict.doubled.values())
        known = f"{lost} lost, {doubled} double-counted, {len(self.verdict.wrong)} differences"
        if self.must_fail:
            return f"{self.scenario}: {'noticed' if self.passed else 'NOT NOTICED'} ({known})"
        return (
            f"{self.scenario} (seed {self.seed}, {self.seconds:.0f} s): {'holds' if self.passed else 'FAILS'}: {known}"
        )


def table(results: list[Result], command: str, omitted: list[str]) -> str:
    honest = [each for each in results if not each.must_fail]
    done: Counter[str] = sum((each.done for each in honest), Counter())
    kills: Counter[str] = sum((each.kills for each in honest), Counter())
    compared: Counter[str] = sum((each.verdict.compared for each in honest), Counter())
    lost = sum(sum(each.verdict.lost.values()) for each in honest)
    doubled = sum(sum(each.verdict.doubled.values()) for each in honest)
    messages = sum(each.messages for each in honest)
    stops = sorted(second for each in honest for second in each.stops_s)
    killed: dict[str, list[str]] = {}
    for where, n in sorted(kills.items()):
        processor, _, moment = where.partition(" at ")
        killed.setdefault(processor, []).append(f"{moment} {n}")
    lines = [
        f"`{command}`; seeds "
        + ", ".join(f"{each.scenario} {each.seed}" for each in honest)
        + f"; {messages:,} messages in {sum(each.seconds for each in honest) / 60:.0f} minutes.",
        "",
        f"- **kill -9: {sum(kills.values())}**",
        *(_item(f"kill -9 of the {processor}", moments) for processor, moments in killed.items()),
        _item("other faults", [f"{n} × {name}" for name, n in sorted(done.items()) if name != "kill -9"]),
        *([_item("not tested", omitted)] if omitted else []),
        f"- **compared**: {sum(compared.values()):,} values of {len(compared)} kinds",
        f"- **lost: {lost}; counted twice: {doubled}**",
    ]
    if stops:
        median = stops[len(stops) // 2]
        lines += ["", f"{len(stops)} processors exited within {stops[-1]:.1f} s after SIGTERM (median {median:.1f} s)."]
    sabotaged = [each for each in results if each.must_fail]
    if sabotaged:
        lines += ["", "| without this safeguard | lost | counted twice |", "|---|---|---|"]
        for each in sabotaged:
            verdict = each.verdict
            lines.append(
                f"| {each.scenario}: {'fails as expected' if each.passed else '**DID NOT NOTICE**'} "
                f"| {sum(verdict.lost.values())} | {sum(verdict.doubled.values())} |"
            )
    return "\n".join(lines)


def _item(name: str, counts: list[str]) -> str:
    return textwrap.fill(f"- **{name}**: {', '.join(counts)}", 125, subsequent_indent="  ", break_on_hyphens=False)


def write_page(text: str, page: Path = PAGE) -> None:
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
