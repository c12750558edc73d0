"""Names from files: shown in one line, written below the folder that was asked for."""

import pytest

from d2seg.names import expand_user, path_inside, printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("street.jpg", "street.jpg"),
        ("straße 1 日本.png", "straße 1 日本.png"),
        ("a\nb.png", r"a\nb.png"),
        ("a\r\tb", r"a\r\tb"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b2J", r"\x9b2J"),
        ("gnp.\u202egpj.exe", r"gnp.\u202egpj.exe"),
        ("line\u2028end", r"line\u2028end"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\udce9"),
    ],
)
def test_what_a_terminal_would_act_on_is_escaped(name: str, shown: str) -> None:
    assert printable(name) == shown
    shown.encode()


def test_paths_stay_in_their_folder(tmp_path) -> None:
    assert path_inside(tmp_path, "a/b.png") == tmp_path / "a/b.png"
    assert path_inside(tmp_path, "a..b.png") == tmp_path / "a..b.png"
    for name in ("../x", "a/../../x", "/etc/x", "..", "", "a\0b"):
        with pytest.raises(ValueError, match="leads out of the folder"):
            path_inside(tmp_path, name)


def test_a_home_is_filled_in(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    assert expand_user("~/runs") == "/home/x/runs"
    assert expand_user("~") == "/home/x"
    assert expand_user("runs/~") == "runs/~"
    for name in ("~nobody_of_this_name/runs", "~nobody_of_this_name"):
        with pytest.raises(ValueError, match="no home folder ~nobody_of_this_name;"):
            expand_user(name)
