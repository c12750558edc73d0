"""What configs/ says of the published recipes is what the papers and their authors' configs say."""

from pathlib import Path

import pytest
from detectron2.config import CfgNode

from d2seg.config.loading import load_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def load(path: Path) -> CfgNode:
    cfg = load_config(str(CONFIGS / path))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def decay(cfg: CfgNode) -> tuple[str, float, int]:
    """Of the learning rate: its schedule, power and warm-up."""
    solver = cfg.SOLVER
    return solver.LR_SCHEDULER_NAME, solver.POLY_LR_POWER, solver.WARMUP_ITERS


def rates(cfg: CfgNode) -> list[float]:
    """Learning rates of the backbone and of the rest."""
    return [cfg.SOLVER.BASE_LR * cfg.SOLVER.BACKBONE_MULTIPLIER, cfg.SOLVER.BASE_LR]


def clip(cfg: CfgNode) -> tuple[bool, str, float]:
    node = cfg.SOLVER.CLIP_GRADIENTS
    return node.ENABLED, node.CLIP_TYPE, node.CLIP_VALUE


# learning rate, iterations, batch, crop, weight decay and backbone factor, as published
PUBLISHED = {
    "ade20k_semantic_resnet50": (1e-4, 160_000, 16, (512, 512), 1e-4, 0.1),
    "ade20k_semantic_swin_tiny": (6e-5, 160_000, 16, (512, 512), 0.01, 1.0),
    "ade20k_semantic_swin_large": (6e-5, 160_000, 16, (640, 640), 0.01, 1.0),
    "ade20k_full_semantic_resnet50": (1e-4, 200_000, 16, (512, 512), 1e-4, 0.1),
    "ade20k_panoptic_resnet50": (1e-4, 720_000, 16, (640, 640), 1e-4, 0.1),
    "coco_panoptic_resnet50": (1e-4, 554_400, 64, (384, 600), 1e-4, 0.1),
    "coco_panoptic_swin_base": (6e-5, 554_400, 64, (384, 600), 0.01, 1.0),
    "coco_stuff_10k_semantic_resnet101c": (1e-4, 60_000, 32, (640, 640), 1e-4, 0.1),
    "cityscapes_semantic_resnet101": (1e-4, 90_000, 16, (512, 1024), 1e-4, 0.1),
    "mapillary_vistas_semantic_resnet50": (1e-4, 300_000, 16, (1280, 1280), 1e-4, 0.1),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipe(name: str) -> None:
    cfg = load(Path("maskformer") / f"{name}.yaml")
    solver = cfg.SOLVER
    crop = tuple(cfg.INPUT.CROP.SIZE)
    recipe = (solver.BASE_LR, solver.MAX_ITER, solver.IMS_PER_BATCH, crop)
    assert (*recipe, solver.WEIGHT_DECAY, solver.BACKBONE_MULTIPLIER) == PUBLISHED[name]
    assert clip(cfg) == (True, "full_model", 0.01)
    weights = cfg.MODEL.MASK_CLASSIFICATION
    losses = (weights.CLASS_WEIGHT, weights.MASK_WEIGHT, weights.DICE_WEIGHT)
    assert losses == (1.0, 20.0, 1.0)
    assert weights.NO_OBJECT_WEIGHT == 0.1


# iterations, side or (height, width) of the training crops, queries, classes
PUBLISHED_MASK2FORMER = {
    "coco_panoptic_resnet50": (368_750, 1024, 100, 133),
    "coco_panoptic_swin_base": (368_750, 1024, 100, 133),
    "coco_panoptic_swin_large": (737_500, 1024, 200, 133),
    "coco_instance_resnet101": (368_750, 1024, 100, 80),
    "coco_instance_swin_large": (737_500, 1024, 200, 80),
    "ade20k_semantic_resnet50": (160_000, (512, 512), 100, 150),
    "ade20k_semantic_swin_small": (160_000, (512, 512), 100, 150),
    "ade20k_semantic_swin_base": (160_000, (640, 640), 100, 150),
    "ade20k_semantic_swin_large": (160_000, (640, 640), 100, 150),
    "ade20k_instance_resnet50": (160_000, (640, 640), 100, 100),
    "ade20k_instance_swin_large": (160_000, (640, 640), 200, 100),
    "ade20k_panoptic_swin_large": (160_000, (640, 640), 200, 150),
    "cityscapes_semantic_resnet50": (90_000, (512, 1024), 100, 19),
    "cityscapes_semantic_swin_large": (90_000, (512, 1024), 100, 19),
    "cityscapes_instance_swin_large": (90_000, (512, 1024), 200, 8),
    "cityscapes_panoptic_swin_large": (90_000, (512, 1024), 200, 19),
    "mapillary_vistas_semantic_swin_large": (300_000, (1024, 1024), 100, 65),
    "mapillary_vistas_panoptic_resnet50": (300_000, (1024, 1024), 100, 65),
}


@pytest.mark.parametrize("name", PUBLISHED_MASK2FORMER)
def test_published_recipe_of_mask2former(name: str) -> None:
    cfg = load(Path("mask2former") / f"{name}.yaml")
    solver, node, shared = cfg.SOLVER, cfg.MODEL.MASK2FORMER, cfg.MODEL.MASK_CLASSIFICATION
    jitter = cfg.INPUT.LSJ
    crop = tuple(cfg.INPUT.CROP.SIZE)
    if cfg.INPUT.AUGMENTATION == "lsj":
        assert (jitter.MIN_SCALE, jitter.MAX_SCALE) == (0.1, 2.0)
        assert not cfg.INPUT.CROP.ENABLED
        crop = jitter.IMAGE_SIZE
    recipe = (solver.MAX_ITER, crop, shared.NUM_QUERIES, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
    assert recipe == PUBLISHED_MASK2FORMER[name]
    optimizer = (solver.OPTIMIZER, solver.BASE_LR, solver.WEIGHT_DECAY, solver.BACKBONE_MULTIPLIER)
    assert optimizer == ("ADAMW", 1e-4, 0.05, 0.1)
    assert solver.IMS_PER_BATCH == 16
    assert clip(cfg) == (True, "full_model", 0.01)
    if "coco" in name:  # the last tenths, rounded as published
        assert [round(step / solver.MAX_ITER, 4) for step in solver.STEPS] == [0.8889, 0.963]
        assert solver.WARMUP_ITERS == 10
    else:
        assert decay(cfg) == ("WarmupPolyLR", 0.9, 0)
    losses = (shared.CLASS_WEIGHT, shared.MASK_WEIGHT, shared.DICE_WEIGHT, shared.NO_OBJECT_WEIGHT)
    assert (*losses, shared.MASK_LOSS) == (2.0, 5.0, 5.0, 0.1, "bce")
    assert (node.NUM_DECODER_LAYERS, node.NUM_PIXEL_ENCODER_LAYERS) == (9, 6)
    points = (node.NUM_LOSS_POINTS, node.OVERSAMPLE_RATIO, node.IMPORTANCE_SAMPLE_RATIO)
    assert points == (12544, 3.0, 0.75)


# training iterations: 150 epochs of Synapse's 2211 slices in batches of 24
@pytest.mark.parametrize("name", ["synapse_semantic_r50_vit_base", "synapse_semantic_vit_base"])
def test_published_recipe_of_transunet(name: str) -> None:
    cfg = load(Path("transunet") / f"{name}.yaml")
    solver, loss, vit = cfg.SOLVER, cfg.MODEL.PER_PIXEL.LOSS, cfg.MODEL.HYBRID_VIT
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.MOMENTUM) == ("SGD", 0.01, 0.9)
    decays = (solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_EMBED)
    assert decays == (1e-4, 1e-4, 1e-4)
    assert decay(cfg) == ("WarmupPolyLR", 0.9, 0)
    assert solver.IMS_PER_BATCH == 24
    assert solver.MAX_ITER == 150 * -(2211 // -24)
    assert (loss.CE_WEIGHT, loss.DICE_WEIGHT) == (0.5, 0.5)
    assert tuple(cfg.INPUT.SLICE_SIZE) == (vit.IMAGE_SIZE, vit.IMAGE_SIZE) == (224, 224)
    assert (vit.EMBED_DIM, vit.DEPTH, vit.NUM_HEADS, vit.DROPOUT) == (768, 12, 12, 0.1)
    assert (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD) == ([0.0] * 3, [1.0] * 3)


# the published code trains on Kvasir-SEG alone
@pytest.mark.parametrize("name", ["kvasir_seg", "cvc_clinicdb", "isic2018", "glas", "dsb2018"])
def test_published_recipe_of_ds_transunet(name: str) -> None:
    cfg = load(Path("dstransunet") / f"{name}_semantic_base.yaml")
    solver, node = cfg.SOLVER, cfg.MODEL.DS_TRANSUNET
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.MOMENTUM) == ("SGD", 0.001, 0.9)
    decays = (solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_EMBED)
    assert decays == (1e-4, 1e-4, 1e-4)
    assert clip(cfg) == (True, "value", 0.1)
    assert (solver.LR_SCHEDULER_NAME, solver.BASE_LR_END) == ("WarmupCosineLR", 1e-4)
    # epochs of 880 pictures, three scales
    assert 1000 * (880 // solver.IMS_PER_BATCH) * len(node.TRAIN_SCALES) == solver.MAX_ITER
    assert [512 * scale for scale in node.TRAIN_SCALES] == [384, 512, 640]
    assert (node.LOSS.MAIN_WEIGHT, cfg.MODEL.PER_PIXEL.AUX_WEIGHT) == (0.6, 0.2)
    encoders = [(e.EMBED_DIM, e.DEPTHS, e.DROP_PATH_RATE) for e in (node.FINE, node.COARSE)]
    assert encoders == [(128, [2, 2, 18, 2], 0.5), (96, [2, 2, 6, 2], 0.2)]
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 2
    assert cfg.INPUT.RANDOM_FLIP == "none"


# learning rate of the ViT, iterations, batch, side of the crops, step of the windows, classes
PUBLISHED_SETR = {
    "ade20k_semantic_naive_vit_large": (0.01, 160_000, 16, 512, 341, 150),
    "ade20k_semantic_pup_vit_large": (0.001, 160_000, 16, 512, 341, 150),
    "ade20k_semantic_mla_vit_large": (0.001, 160_000, 16, 512, 341, 150),
    "cityscapes_semantic_naive_vit_large": (0.01, 80_000, 8, 768, 512, 19),
    "cityscapes_semantic_pup_vit_large": (0.01, 80_000, 8, 768, 512, 19),
    "cityscapes_semantic_mla_vit_large": (0.002, 80_000, 8, 768, 512, 19),
    "cityscapes_semantic_naive_deit_base": (0.01, 80_000, 8, 768, 512, 19),
    "cityscapes_semantic_pup_deit_base": (0.01, 80_000, 8, 768, 512, 19),
    "cityscapes_semantic_mla_deit_base": (0.002, 80_000, 8, 768, 512, 19),
    "pascal_context_60_semantic_naive_vit_large": (0.01, 80_000, 16, 480, 320, 60),
    "pascal_context_60_semantic_pup_vit_large": (0.001, 80_000, 16, 480, 320, 60),
    "pascal_context_60_semantic_mla_vit_large": (0.001, 80_000, 16, 480, 320, 60),
    "pascal_context_59_semantic_mla_vit_large": (0.001, 80_000, 16, 480, 320, 59),
}
# blocks with an auxiliary head, and the one that the decoder takes, or the four of MLA
SETR_BLOCKS = {
    "naive_vit_large": ([10, 15, 20], [24]),
    "pup_vit_large": ([10, 15, 20, 24], [24]),
    "mla_vit_large": ([6, 12, 18, 24], [6, 12, 18, 24]),
    "naive_deit_base": ([3, 6, 9], [12]),
    "pup_deit_base": ([5, 8, 10, 12], [12]),
    "mla_deit_base": ([3, 6, 9, 12], [3, 6, 9, 12]),
}


@pytest.mark.parametrize("name", PUBLISHED_SETR)
def test_published_recipe_of_setr(name: str) -> None:
    cfg = load(Path("setr") / f"{name}.yaml")
    solver, test, head = cfg.SOLVER, cfg.MODEL.PER_PIXEL.TEST, cfg.MODEL.SEM_SEG_HEAD
    rate, iterations, batch, crop, step, num_classes = PUBLISHED_SETR[name]
    assert (solver.OPTIMIZER, solver.MOMENTUM, solver.WEIGHT_DECAY) == ("SGD", 0.9, 0.0)
    assert rates(cfg) == pytest.approx([rate, 10 * rate])
    assert (*decay(cfg), solver.BASE_LR_END) == ("WarmupPolyLR", 0.9, 0, 1e-4)
    length = (solver.MAX_ITER, solver.IMS_PER_BATCH)
    assert length == (iterations, batch)
    crops = (cfg.INPUT.CROP.SIZE, cfg.INPUT.PAD_SIZE, cfg.MODEL.VIT.IMG_SIZE, test.CROP_SIZE)
    assert {tuple(size) for size in crops} == {(crop, crop)}
    assert (test.MODE, tuple(test.STRIDE)) == ("slide", (step, step))
    auxiliary, decoded = SETR_BLOCKS[name.split("semantic_")[1]]
    features = [*cfg.MODEL.SETR.AUX_IN_FEATURES, *head.IN_FEATURES]
    assert features == [f"block{n}" for n in (*auxiliary, *decoded)]
    classes = (head.NUM_CLASSES, cfg.MODEL.PER_PIXEL.AUX_WEIGHT)
    assert classes == (num_classes, 0.4)


# learning rate of the encoder
PUBLISHED_TOPFORMER = {"tiny": 3e-4, "small": 1.2e-4, "base": 1.2e-4}


@pytest.mark.parametrize("size", PUBLISHED_TOPFORMER)
def test_published_recipe_of_topformer(size: str) -> None:
    cfg = load(Path("topformer") / f"ade20k_semantic_{size}.yaml")
    solver, test = cfg.SOLVER, cfg.MODEL.PER_PIXEL.TEST
    rate = PUBLISHED_TOPFORMER[size]
    assert rates(cfg) == pytest.approx([rate, 10 * rate])
    assert (solver.OPTIMIZER, solver.WEIGHT_DECAY) == ("ADAMW", 0.01)
    assert (*decay(cfg), solver.WARMUP_FACTOR) == ("WarmupPolyLR", 1.0, 1500, 1e-6)
    assert (solver.MAX_ITER, solver.IMS_PER_BATCH) == (160_000, 16)
    assert tuple(cfg.INPUT.CROP.SIZE) == (512, 512)
    assert (test.MODE, test.ALIGN, cfg.MODEL.PER_PIXEL.SIZE_DIVISIBILITY) == ("whole", "resize", 32)
    assert (cfg.MODEL.TOPFORMER.DROP_PATH_RATE, cfg.MODEL.PER_PIXEL.DROPOUT) == (0.1, 0.1)


# (data set, backbone): batch, side of the crop, width of the head, inference
PUBLISHED_SEGFORMER = {
    ("ade20k", "b0"): (16, 512, 256, "whole"),
    ("ade20k", "b1"): (16, 512, 256, "whole"),
    ("ade20k", "b2"): (16, 512, 768, "whole"),
    ("ade20k", "b3"): (16, 512, 768, "whole"),
    ("ade20k", "b4"): (16, 512, 768, "whole"),
    ("ade20k", "b5"): (16, 640, 768, "whole"),
    ("cityscapes", "b0"): (8, 1024, 256, "slide"),
    ("cityscapes", "b5"): (8, 1024, 768, "slide"),
}


@pytest.mark.parametrize(("data", "size"), PUBLISHED_SEGFORMER)
def test_published_recipe_of_segformer(data: str, size: str) -> None:
    cfg = load(Path("segformer") / f"{data}_semantic_mit_{size}.yaml")
    solver, test = cfg.SOLVER, cfg.MODEL.PER_PIXEL.TEST
    batch, crop, width, mode = PUBLISHED_SEGFORMER[data, size]
    optimizer = (solver.OPTIMIZER, solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM)
    assert optimizer == ("ADAMW", 0.01, 0)
    assert rates(cfg) == pytest.approx([6e-5, 6e-4])
    assert (*decay(cfg), solver.WARMUP_FACTOR) == ("WarmupPolyLR", 1.0, 1500, 1e-6)
    assert not solver.CLIP_GRADIENTS.ENABLED
    length = (solver.MAX_ITER, solver.IMS_PER_BATCH)
    assert length == (160_000, batch)
    sizes = (*cfg.INPUT.CROP.SIZE, cfg.INPUT.MIN_SIZE_TEST, cfg.MODEL.SEGFORMER.EMBED_DIM)
    assert sizes == (crop, crop, crop, width)
    inference = (test.MODE, test.ALIGN)
    assert inference == (mode, "resize")
    if mode == "slide":
        windows = (*test.CROP_SIZE, *test.STRIDE)
        assert windows == (1024, 1024, 768, 768)
