"""Tables of positions on another grid, with and without a class token."""

import torch
from torch import Tensor

from d2seg.backbones.vit import ViTBackbone
from d2seg.checkpoint.positions import fit_positions, position_grids


def ramp(side: int, slots: int = 0) -> Tensor:
    """(1, slots + side^2, 2): -5 in the slots; else the token's place, from 0 to 1, by row."""
    places = (torch.arange(side) + 0.5) / side
    rows = places.repeat_interleave(side)
    table = torch.stack([rows, places.repeat(side)], dim=-1)
    return torch.cat([torch.full((slots, 2), -5.0), table])[None]


def fitted(theirs: Tensor, ours: Tensor, class_token: bool) -> dict[str, Tensor]:
    state = {"backbone.pos_embed": theirs, "backbone.cls_token": torch.ones(1, 1, 2)}
    model = {"backbone.pos_embed": ours, "backbone.other": torch.ones(1)}
    if class_token:
        model["backbone.cls_token"] = torch.zeros(1, 1, 2)
    fit_positions(state, model, {})
    return state


def test_class_token_is_dropped_with_its_slot() -> None:
    state = fitted(ramp(4, slots=1), ramp(4), class_token=False)
    assert torch.equal(state["backbone.pos_embed"], ramp(4))
    assert "backbone.cls_token" not in state


def test_class_token_keeps_its_slot() -> None:
    state = fitted(ramp(8, slots=1), ramp(4, slots=1), class_token=True)
    torch.testing.assert_close(state["backbone.pos_embed"], ramp(4, slots=1))
    assert "backbone.cls_token" in state


def test_grid_is_resized_bilinearly() -> None:
    larger = fitted(ramp(4), ramp(8), class_token=False)["backbone.pos_embed"]
    inner = larger.view(8, 8, 2)[1:-1, 1:-1]  # the border repeats the outermost token
    torch.testing.assert_close(inner, ramp(8).view(8, 8, 2)[1:-1, 1:-1])


def test_grid_of_the_model_may_be_oblong() -> None:
    """Of each of timm's kinds: a class token with a position, one without, and none."""
    for name, has_token, slots in [
        ("vit_tiny_patch16_224", True, 1),
        ("vit_small_patch14_reg4_dinov2", True, 0),
        ("vit_tiny_patch16_224", False, 0),
    ]:
        patch = 14 if "14" in name else 16
        vit = ViTBackbone(
            name=name,
            out_features=("block1",),
            img_size=(2 * patch, 4 * patch),
            depth=1,
            class_token=has_token,
        )
        assert position_grids(vit) == {"model.pos_embed": (2, 4)}
        channels = vit.model.embed_dim // 2
        theirs = ramp(4, slots).repeat(1, 1, channels)
        state = {"model.pos_embed": theirs}
        fit_positions(state, vit.state_dict(), position_grids(vit))
        fitted = state["model.pos_embed"]
        assert fitted.shape == vit.model.pos_embed.shape
        assert torch.equal(fitted[:, :slots], theirs[:, :slots])
        grid = fitted[0, slots:, :2].unflatten(0, (2, 4))
        torch.testing.assert_close(grid[:, 0, 0], torch.tensor([0.25, 0.75]))
        torch.testing.assert_close(grid[0, :, 1], ramp(4)[0, :4, 1])


def test_what_fits_or_is_no_square_stays() -> None:
    same = ramp(4)
    assert fitted(same, ramp(4), class_token=False)["backbone.pos_embed"] is same
    oblong = torch.zeros(1, 12, 2)
    assert fitted(oblong, ramp(4), class_token=False)["backbone.pos_embed"] is oblong
    assert fitted(same, oblong, class_token=False)["backbone.pos_embed"] is same
    row = torch.zeros(1, 17, 2)  # sixteen and one, but no class token
    assert fitted(ramp(8, slots=1), row, class_token=False)["backbone.pos_embed"].shape[1] == 65
    without_slot = fitted(same, ramp(4, slots=1), class_token=True)  # none to take it from
    assert without_slot["backbone.pos_embed"] is same
