"""What a hostile file says is shown in one short line."""

from d2seg.checkpoint.shown import brief


def test_what_may_have_no_end_is_shown_in_brief() -> None:
    tower = None
    for _ in range(60):
        tower = (tower, tower)
    assert brief(tower) == "a tuple of 2 values"
    assert brief("a\n  b\x1b") == r"a b\x1b"
    assert brief("gnp.\u202egpj") == r"gnp.\u202egpj"
    assert brief("k" * 10**6, 80) == "k" * 77 + "..."
    assert brief(None) == "None"
