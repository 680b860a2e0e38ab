"""Options, file names and displayed names of `infer`."""

from barograph.contract import Window

from barograph_server.profiling.infer.files import escape_name
from barograph_server.profiling.infer.training import parse_window
from barograph_server.terminal import NAME_CHARS, shorten_name


def test_a_window_has_a_length_and_a_hop() -> None:
    assert parse_window("1d:1h") == Window(86_400, 3600)
    assert parse_window("90s:30s") == Window(90, 30)
    assert parse_window("last=500:14d:6h") == Window(14 * 86_400, 6 * 3600, last=500)


def test_names_are_escaped_in_file_names_and_stay_distinct() -> None:
    for name, part in (
        ("flight-delay", "flight-delay"),
        ("1.2.0", "1.2.0"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("модель", "модель"),
        ('q"<>|:*?\\', "q%22%3C%3E%7C%3A%2A%3F%5C"),
        ("a\u200bb", "a%E2%80%8Bb"),
    ):
        assert escape_name(name) == part
    first = f"{escape_name('a', dots=False)}.{escape_name('b.c')}"
    assert first != f"{escape_name('a.b', dots=False)}.{escape_name('c')}"
    parts = [escape_name(name) for name in ("日" * 200, "日" * 199 + "本", "日" * 199, "x" * 200, "x" * 199)]
    assert len(set(parts)) == len(parts)
    assert max(len(part.encode()) for part in parts) <= 110
    assert len(shorten_name("x" * 300)) == NAME_CHARS
    assert shorten_name("a\nb") == "a\\nb"
