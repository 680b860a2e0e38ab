"""The language check reports private words where people read them, and nowhere else."""

from tools.check_language import check_python, phrases_in

# Assembled from pieces, so that this file passes the check.
TOLD, ASIDE, ANEW, WHOEVER, LETTERS = "to" + "ld", "put as" + "ide", "an" + "ew", "who" + "ever", "lett" + "ers"


def lines_with_phrases(text: str) -> list[int]:
    return [finding.line for finding in phrases_in("page.md", text)]


def test_a_phrase_is_found_in_any_case_and_across_lines_and_standard_terms_are_accepted() -> None:
    assert lines_with_phrases(f"One\n{WHOEVER.title()} asks") == [2]
    assert lines_with_phrases("events that\nwere " + ASIDE.replace(" ", "\n   ")) == [2]
    for text in (f"dead {LETTERS}", f"dead\n{LETTERS}", f"the capital {LETTERS}", f"{TOLD} apart"):
        assert lines_with_phrases(text) == [], text


def test_python_is_checked_where_people_read_it() -> None:
    word, rest = ASIDE.split()
    for source, line in (
        (f'"""{WHOEVER} reads this."""', 1),
        (f"x = 1  # counted {ANEW}", 1),
        (f"# events are {word}\n# {rest} here", 1),
        (f'x = (\n    "was {word} "\n    "{rest}"\n)', 2),
        (f'x = f"{{y}} was {TOLD}"', 1),
        (f"def f({TOLD}): ...", 1),
        (f"def f(self):\n    self.{TOLD} = 1", 2),
        (f"import x as {TOLD}", 1),
        (f"try: ...\nexcept E as {TOLD}: ...", 2),
        (f"def test_it_is_{ASIDE.replace(' ', '_')}(): ...", 1),
    ):
        assert [finding.line for finding in check_python("module.py", source)] == [line], source
    # Names of others and code are no prose.
    for source in (
        *(f"x = library.{TOLD}", f"from library import {TOLD}", f"f({TOLD}=1)", f'x = f"{{{TOLD}}} rows"'),
        *(f'f("{word}", "{rest}")', f"{TOLD}_rows = 1"),
    ):
        assert list(check_python("module.py", source)) == [], source
