"""The meta-architecture: what goes in, what comes out, what is refused."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from d2seg.acceleration import prepare_for_inference
from d2seg.checkpoint import Checkpointer
from d2seg.layers.chunking import budget
from families.restr_config import (
    SENTENCES,
    image,
    small_config,
    small_model,
    write_vocabulary,
)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vocabulary(tmp_path_factory.mktemp("words") / "vocabulary.txt")


@pytest.fixture(scope="module")
def model(repo_dir: Path, vocabulary: Path) -> nn.Module:
    return small_model(repo_dir, vocabulary)


def training_example(sentences: tuple[str, ...], seed: int = 0) -> dict:
    masks = torch.zeros(len(sentences), 64, 64, dtype=torch.bool)
    for i, mask in enumerate(masks):
        mask[8 * i : 8 * i + 20, 10:40] = True
    return {
        "image": image(seed=seed),
        "expressions": [{"id": i, "sentence": s} for i, s in enumerate(sentences)],
        "expression_masks": masks,
        "file_name": f"{seed}.png",
    }


def test_every_parameter_gets_a_finite_gradient(model: nn.Module) -> None:
    batch = [training_example(SENTENCES), training_example(SENTENCES[:1], seed=1)]
    batch[1]["expression_masks"][:] = False  # an expression without an object
    losses = model.train()(batch)
    assert losses.keys() == {"loss_mask", "loss_patch"}
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    model.zero_grad()
    model.eval()


def test_an_image_without_expressions_counts_for_nothing(model: nn.Module) -> None:
    batch = [training_example(SENTENCES), training_example((), seed=1)]
    with torch.no_grad():
        both, alone = model.train()(batch), model(batch[:1])
    model.eval()
    assert both["loss_mask"].item() == pytest.approx(alone["loss_mask"].item(), rel=1e-6)


def test_results_have_the_size_asked_for_and_one_mask_an_expression(model: nn.Module) -> None:
    example = {"image": image(), "height": 50, "width": 80, "expressions": list(SENTENCES)}
    with torch.no_grad():
        (output,) = model([example])
    result = output["referring"]
    assert result.image_size == (50, 80)
    assert result.pred_masks.shape == (3, 50, 80)
    assert result.pred_masks.dtype == torch.bool
    assert result.expressions == list(SENTENCES)
    assert ((result.scores >= 0) & (result.scores <= 1)).all()


def test_expressions_do_not_depend_on_each_other_or_on_the_batch(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together, one by one, and in passes of one expression."""
    entries = [{"id": i, "sentence": s} for i, s in enumerate(SENTENCES)]
    with torch.no_grad():
        features = model.encode_images(model.normalise(image())[None])
        together, _ = model.logits(features, SENTENCES, torch.zeros(3, dtype=torch.int64))
        single = [model.logits(features, [s], torch.tensor([0]))[0] for s in SENTENCES]
        torch.testing.assert_close(together, torch.cat(single), rtol=1e-4, atol=1e-5)
        one_pass = model([{"image": image(), "expressions": entries}])[0]["referring"]
        monkeypatch.setattr("d2seg.restr.model._NUMBERS_AT_ONCE", budget(1))
        passes = model([{"image": image(), "expressions": entries}])[0]["referring"]
    torch.testing.assert_close(one_pass.scores, passes.scores, rtol=1e-4, atol=1e-5)
    assert (one_pass.pred_masks != passes.pred_masks).float().mean() < 1e-3


def test_an_image_is_encoded_once_for_all_its_expressions(model: nn.Module) -> None:
    calls = []
    handle = model.backbone.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model([{"image": image(), "expressions": list(SENTENCES)}])
    handle.remove()
    assert len(calls) == 1


def test_no_expressions_give_no_masks(model: nn.Module) -> None:
    with torch.no_grad():
        (output,) = model([{"image": image(), "expressions": []}])
    assert output["referring"].pred_masks.shape == (0, 64, 64)
    assert len(output["referring"].scores) == 0


def test_masks_below_min_pixels_are_emptied(model: nn.Module) -> None:
    logits = torch.full((2, 8, 8), -4.0)
    logits[0, :2, :2], logits[1, :4, :4] = 4.0, 4.0  # 4 and 16 pixels
    model.min_pixels = 5
    masks, scores = model._masks(logits)
    model.min_pixels = 0
    assert masks.sum((1, 2)).tolist() == [0, 16]
    assert scores.tolist() == pytest.approx([torch.tensor(4.0).sigmoid().item()] * 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_positions_for_backbones_without_them(
    repo_dir: Path, vocabulary: Path, dtype: torch.dtype
) -> None:
    """They tell one place from another, and from their neighbours in most channels: slow
    frequencies would leave the map's ends alike."""
    cfg = small_config(repo_dir, vocabulary)
    cfg.MODEL.RESTR.ADD_POSITIONS = True
    torch.manual_seed(0)
    model = prepare_for_inference(build_model(cfg).eval(), dtype)
    with torch.no_grad():
        features = model.encode_images(model.normalise(image())[None])
        model.position_scale.zero_()
        added = features - model.encode_images(model.normalise(image())[None])
        assert added.dtype == dtype
        ends = (added[0, :, 0, 0] - added[0, :, 3, 3]).abs()
        assert ends.max() > 0.5
        assert (ends > 0.1).float().mean() > 0.6  # under 0.5 with DETR's temperature
        (output,) = model([{"image": image(), "expressions": list(SENTENCES)}])
    assert output["referring"].pred_masks.shape == (3, 64, 64)


def test_shared_weights_make_the_two_fusion_encoders_one(repo_dir: Path, vocabulary: Path) -> None:
    cfg = small_config(repo_dir, vocabulary)
    separate = build_model(cfg)
    cfg.MODEL.RESTR.FUSION.SHARE_WEIGHTS = True
    shared = build_model(cfg)
    assert shared.fusion.language_seed is shared.fusion.vision_language
    block = sum(p.numel() for p in shared.fusion.vision_language.parameters())
    assert sum(p.numel() for p in separate.parameters()) == block + sum(
        p.numel() for p in shared.parameters()
    )
    with torch.no_grad():
        shared.eval()([{"image": image(), "expressions": list(SENTENCES)}])


def test_masked_padding_does_not_reach_the_words(repo_dir: Path, vocabulary: Path) -> None:
    """With the mask, a word's features are those it has in a shorter row of tokens."""
    cfg = small_config(repo_dir, vocabulary)
    for masks_padding in (True, False):
        cfg.MODEL.RESTR.TEXT.MASK_PADDING = masks_padding
        torch.manual_seed(0)
        encoder = build_model(cfg).eval().text_encoder
        ids, is_word = encoder.tokenize(["the red ball"])
        other = ids.clone()
        other[:, :-3] = ids[0, -1]  # other words in place of the padding
        with torch.no_grad():
            same = torch.equal(encoder(ids, is_word)[:, -3:], encoder(other, is_word)[:, -3:])
        assert same == masks_padding


class TestBadInput:
    def test_without_a_vocabulary(self, repo_dir: Path) -> None:
        with pytest.raises(ValueError, match=r"no vocabulary.*MODEL\.RESTR\.TEXT\.VOCABULARY"):
            small_model(repo_dir, None)([{"image": image(), "expressions": ["the ball"]}])

    def test_unknown_words_of_a_user_and_of_a_data_set(self, model: nn.Module) -> None:
        with pytest.raises(ValueError, match=r"none of the words.*'zebra quagga'"):
            model([{"image": image(), "expressions": ["zebra quagga"]}])
        with torch.no_grad():
            entries = [{"id": 1, "sentence": "zebra quagga"}]
            (output,) = model([{"image": image(), "expressions": entries}])
        assert len(output["referring"].pred_masks) == 1

    @pytest.mark.parametrize("expression", ["", "   ", "."])
    def test_an_expression_without_words(self, model: nn.Module, expression: str) -> None:
        with pytest.raises(ValueError, match="no words"):
            model([{"image": image(), "expressions": [expression]}])

    def test_two_hundred_words_and_other_alphabets(self, model: nn.Module) -> None:
        long = "the red ball " + "left " * 197
        with torch.no_grad():
            (output,) = model([{"image": image(), "expressions": [long, "красный ball"]}])
        assert len(output["referring"].pred_masks) == 2

    def test_a_training_sample_without_masks_or_a_batch_without_expressions(
        self, model: nn.Module
    ) -> None:
        example = training_example(SENTENCES)
        del example["expression_masks"]
        model.train()
        with pytest.raises(ValueError, match=r'0\.png.*INPUT\.MAPPER to "referring"'):
            model([example])
        with pytest.raises(ValueError, match="no training sample of the batch has an expression"):
            model([training_example(())])
        model.eval()

    def test_configs_that_cannot_be(self, repo_dir: Path, vocabulary: Path) -> None:
        cfg = small_config(repo_dir, vocabulary)
        cfg.MODEL.RESTR.IN_FEATURE = "block9"
        with pytest.raises(ValueError, match=r"MODEL\.RESTR\.IN_FEATURE asks for.*block9"):
            build_model(cfg)
        cfg = small_config(repo_dir, vocabulary)
        cfg.MODEL.RESTR.LOSS.MASK_WEIGHT = cfg.MODEL.RESTR.LOSS.PATCH_WEIGHT = 0.0
        with pytest.raises(ValueError, match=r"MODEL\.RESTR\.LOSS"):
            build_model(cfg)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("FUSION.DEPTH", 0, "0 blocks of 32 channels"),
            ("FUSION.NUM_HEADS", 5, "32 channels in 5 heads"),
            ("TEXT.MAX_TOKENS", 0, "takes 0 tokens"),
            ("TEXT.EMBED_DIM", 25, "25 channels in 2 heads"),
            ("DECODER_DIMS", [], "DECODER_DIMS"),
        ],
    )
    def test_sizes_that_cannot_be(
        self, repo_dir: Path, vocabulary: Path, key: str, value: int | list, message: str
    ) -> None:
        cfg = small_config(repo_dir, vocabulary)
        cfg.merge_from_list([f"MODEL.RESTR.{key}", value])
        with pytest.raises(ValueError, match=message):
            build_model(cfg)


def test_the_norm_of_a_pretrained_vit_is_the_one_behind_the_map(
    repo_dir: Path, vocabulary: Path, tmp_path: Path
) -> None:
    model = small_model(repo_dir, vocabulary)
    state = {
        name.removeprefix("backbone.model."): tensor
        for name, tensor in model.state_dict().items()
        if name.startswith("backbone.model.")
    }
    channels = model.vision_norm.weight.shape
    state |= {"norm.weight": torch.full(channels, 7.0), "norm.bias": torch.full(channels, 5.0)}
    torch.save(state, tmp_path / "vit.pth")
    Checkpointer(model).load(str(tmp_path / "vit.pth"))
    assert model.vision_norm.weight.eq(7).all()
    assert model.vision_norm.bias.eq(5).all()


def test_two_fusion_encoders_do_not_become_one(
    repo_dir: Path, vocabulary: Path, model: nn.Module, tmp_path: Path
) -> None:
    Checkpointer(model, str(tmp_path)).save("separate")
    cfg = small_config(repo_dir, vocabulary)
    cfg.MODEL.RESTR.FUSION.SHARE_WEIGHTS = True
    shared = build_model(cfg)
    with pytest.raises(ValueError, match=r"two fusion encoders.*SHARE_WEIGHTS False"):
        Checkpointer(shared).load(str(tmp_path / "separate.pth"))
    Checkpointer(shared, str(tmp_path)).save("shared")
    Checkpointer(build_model(cfg)).load(str(tmp_path / "shared.pth"), require_complete=True)
