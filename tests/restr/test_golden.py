"""Equality with the official code: its parameter names with seeded weights, and what it computes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2seg.checkpoint.conversion import to_d2seg, to_flavour
from families.golden import relative_error
from families.restr_config import published_config, write_vocabulary
from families.undrawn import build_undrawn
from golden.pictures import read_picture
from golden.seeded_weights import seeded_state_dict

CASE = "restr_refcoco"
# Relative errors of norms, and of losses. Measured, at worst of three instruction sets on one thread:
# mask logits 1.1e-5, patch logits 6.7e-6, features 5.2e-7, losses 5e-6 (of the patches).
TOLERANCE = 4e-5
FEATURE_TOLERANCE = 2e-6
LOSS_TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def official_state(repo_dir: Path) -> dict[str, Tensor]:
    names = json.loads((repo_dir / "tests" / "golden" / "keys" / f"{CASE}.json").read_text())
    return seeded_state_dict({name: torch.zeros(shape) for name, shape in names.items()})


@pytest.fixture(scope="module")
def outputs(repo_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(repo_dir / "tests" / "golden" / "outputs" / f"{CASE}.npz"))


@pytest.fixture(scope="module")
def model(
    repo_dir: Path, tmp_path_factory: pytest.TempPathFactory, official_state: dict[str, Tensor]
) -> nn.Module:
    num_words = len(official_state["encoder_l.embedding.weight"])
    vocabulary = write_vocabulary(tmp_path_factory.mktemp("restr") / "words.txt", num_words)
    model = build_undrawn(published_config(repo_dir, vocabulary))
    converted, layout = to_d2seg(official_state)
    assert layout is not None
    assert layout.name == "official ReSTR"
    missing, unexpected = model.load_state_dict(converted, strict=False)
    assert missing == ["text_encoder.words.vocabulary"]  # the authors do not say their words
    assert not unexpected
    return model


@contextmanager
def recorded(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What modules give, (tokens, C), under the names of the golden file."""
    vit, text, fusion = model.backbone.model, model.text_encoder, model.fusion
    modules = {"patch_embed": vit.patch_embed, "proj_v": fusion.proj_vision}
    modules |= {f"v_block{i}": vit.blocks[i] for i in (0, 5, 11)}
    modules |= {"l_block0": text.blocks[0], "l_block5": text.blocks[5], "l_norm": text.norm}
    modules["vl_block1"] = fusion.vision_language[1]
    modules |= {f"ls_block{i}": block for i, block in enumerate(fusion.language_seed)}
    found: dict[str, Tensor] = {}

    def record(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            found[name] = output.flatten(0, -2)
            if name == "vl_block1":  # the block before it is not called as a module
                found["vl_block0"] = inputs[0].flatten(0, -2)

        return hook

    handles = [module.register_forward_hook(record(n)) for n, module in modules.items()]
    yield found
    for handle in handles:
        handle.remove()


def run(model: nn.Module, outputs: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Mask logits (480, 480) and patch logits (30, 30)."""
    images = model.normalise(read_picture("480x480_seed0"))[None]
    ids = torch.from_numpy(outputs["token_ids"])[None]
    with torch.no_grad():
        features = model.encode_images(images)
        masks, patches = model.logits_of_tokens(features, ids, ids != 0, torch.tensor([0]))
    return masks[0], patches[0]


@pytest.fixture(scope="module")
def results(model: nn.Module, outputs: dict[str, np.ndarray]) -> dict[str, Tensor]:
    with recorded(model) as found:
        masks, patches = run(model, outputs)
    return found | {"masks": masks, "patches": patches}


def test_features_on_the_way(results: dict, outputs: dict[str, np.ndarray]) -> None:
    names = [name for name in results if name not in ("masks", "patches")]
    assert len(names) == 12
    for name in names:
        tokens = results[name].double()
        for kind, value in {"mean": tokens.mean(0), "rms": tokens.square().mean(0).sqrt()}.items():
            error = relative_error(value, outputs[f"feat_{name}_{kind}"])
            assert error < FEATURE_TOLERANCE, f"{name} {kind}: {error:.1e}"


def test_language_features(results: dict, outputs: dict[str, np.ndarray]) -> None:
    assert relative_error(results["l_norm"][:, ::8], outputs["lang_features"]) < FEATURE_TOLERANCE


def test_mask_and_patch_logits(results: dict, outputs: dict[str, np.ndarray]) -> None:
    masks = results["masks"]
    assert relative_error(results["patches"], outputs["patch_logits"]) < TOLERANCE
    assert relative_error(masks[::4, ::4], outputs["mask_logits"]) < TOLERANCE
    assert relative_error(masks[240], outputs["mask_logits_row240"]) < TOLERANCE


def test_losses(model: nn.Module, results: dict, outputs: dict[str, np.ndarray]) -> None:
    mask = torch.from_numpy(np.unpackbits(outputs["target_mask"], axis=-1).astype(bool))
    losses = model.loss(results["masks"][None], results["patches"][None], mask[None])
    official = dict(zip(outputs["loss_names"].tolist(), outputs["loss"].tolist(), strict=True))
    pixel, patch, total = official.values()
    assert losses["loss_mask"].item() == pytest.approx(pixel, rel=LOSS_TOLERANCE)
    assert losses["loss_patch"].item() == pytest.approx(0.1 * patch, rel=LOSS_TOLERANCE)
    assert sum(losses.values()).item() == pytest.approx(total, rel=LOSS_TOLERANCE)


def test_large_positions(model: nn.Module, outputs: dict[str, np.ndarray]) -> None:
    """The seeded rule makes the positions of patches almost zero."""
    positions = model.backbone.model.pos_embed
    with torch.no_grad():
        kept = positions.clone()
        positions.mul_(400)
        masks, patches = run(model, outputs)
        positions.copy_(kept)
    assert relative_error(patches, outputs["pos_scaled_patch_logits"]) < TOLERANCE
    assert relative_error(masks[::4, ::4], outputs["pos_scaled_mask_logits"]) < TOLERANCE


def test_export_gives_back_the_official_names(
    model: nn.Module, official_state: dict[str, Tensor]
) -> None:
    exported = to_flavour(model.state_dict(), "official")
    assert exported.keys() == {n for n in official_state if not n.startswith("encoder_v.head")}
    for name, tensor in exported.items():
        torch.testing.assert_close(tensor, official_state[name], rtol=0, atol=0)
