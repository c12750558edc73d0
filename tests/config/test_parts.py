"""Parts that a config names and nothing has registered."""

import re

import pytest

from d2seg.cli import main


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            ("MODEL.META_ARCHITECTURE", "SegFromer"),
            r"META_ARCHITECTURE is 'SegFromer', which nothing has registered \(the nearest is 'SegFormer'\); name",
        ),
        (
            ("MODEL.BACKBONE.NAME", "nix"),
            r"BACKBONE\.NAME is 'nix', .*; name the module .* --import",
        ),
        (
            (
                *("MODEL.META_ARCHITECTURE", "SemanticSegmentor"),
                *("MODEL.SEM_SEG_HEAD.NAME", "nix"),
            ),
            "the model needs 'nix' of the registry SEM_SEG_HEADS, which nothing has registered",
        ),
    ],
)
def test_a_part_that_nothing_has_registered(
    pairs: tuple[str, ...], message: str, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["segformer/shapes_semantic_small", "MODEL.DEVICE", "cpu", *pairs]
    assert main(["info", "--no-step", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
