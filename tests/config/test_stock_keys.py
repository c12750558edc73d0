"""Every key of detectron2 is read with a config, or refused when it is set."""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yacs.config
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import verify_results
from detectron2.modeling import build_model

from d2seg.config.files import own_keys
from d2seg.config.loading import load_config
from d2seg.config.stock_keys import check_stock_keys, stock_defaults, value_of
from d2seg.config.tasks import tasks_of
from d2seg.data.build import build_train_loader
from d2seg.data.mappers import build_mapper
from d2seg.engine.solver import build_lr_scheduler, build_optimizer, gradient_clip
from d2seg.engine.trainer import Trainer
from d2seg.evaluation.build import build_evaluator
from d2seg.registries import OPTIMIZERS
from d2seg.views import with_views

# one small config for each model, and for each kind of backbone that has keys of its own
CONFIGS = {
    "maskformer/shapes_semantic_small": (),
    "mask2former/shapes_instance_small": (),
    "mask2former/shapes_semantic_small": ("MODEL.BACKBONE.NAME", "build_resnet_backbone"),
    "pointrend/shapes_semantic_small": (),
    "pointrend/shapes_instance_small": (),
    "segformer/shapes_semantic_small": (),
    "setr/shapes_semantic_small": (),
    "topformer/shapes_semantic_small": (),
    "transunet/shapes_semantic_small": (),
    "dstransunet/shapes_semantic_small": (),
    "restr/shapes_referring_small": (),
}
# what the recorded calls do not show, and where it is read
ELSEWHERE = {
    "VERSION": "config/loading.py, of every file",
    "CUDNN_BENCHMARK": "detectron2's default_setup",
    "TEST.KEYPOINT_OKS_SIGMAS": "evaluation/build.py, for the task instance",
    "OUTPUT_DIR": "engine/output_folder.py",
    "MODEL.WEIGHTS": "cli/train.py",
    "DATALOADER.REPEAT_SQRT": "data/build.py, for RepeatFactorTrainingSampler",
    "DATALOADER.REPEAT_THRESHOLD": "data/build.py, for RepeatFactorTrainingSampler",
    "TEST.PRECISE_BN.NUM_ITER": "detectron2's build_hooks, where it is enabled",
    "SOLVER.REFERENCE_WORLD_SIZE": "detectron2's auto_scale_workers",
    "INPUT.MASK_FORMAT": "detectron2's mapper; masks of the others are bitmasks anyway",
    "INPUT.CROP.*": "data/augmentation.py, where it is enabled",
    # of heads that a key chooses
    "MODEL.SEM_SEG_HEAD.*": "detectron2's heads of PointRendSemantic",
    "MODEL.ROI_KEYPOINT_HEAD.*": "detectron2's ROI heads, with KEYPOINT_ON",
    "MODEL.ROI_BOX_*": "detectron2's box heads, by name",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": "nobody; Base-RCNN-FPN.yaml sets it",
    "MODEL.ANCHOR_GENERATOR.ANGLES": "detectron2's rotated anchors",
    "MODEL.LOAD_PROPOSALS": "data/build.py",
    "DATASETS.*": "data/build.py, with LOAD_PROPOSALS",
}


@contextmanager
def recorded(cfg: CfgNode) -> Iterator[set[str]]:
    """The full names of the leaves of ``cfg`` that are read by attribute or by item inside."""
    read: set[str] = set()

    def tag(node: CfgNode, prefix: str) -> None:
        node.__dict__["prefix"] = prefix  # copies keep it
        for key, value in node.items():
            if isinstance(value, CfgNode):
                tag(value, f"{prefix}{key}.")

    def get(node: CfgNode, key: str) -> Any:
        if key not in node:
            raise AttributeError(key)
        value = dict.__getitem__(node, key)
        if "prefix" in node.__dict__ and not isinstance(value, CfgNode):
            read.add(node.__dict__["prefix"] + key)
        return value

    tag(cfg, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yacs.config.CfgNode, "__getattr__", get)
        patch.setattr(yacs.config.CfgNode, "__getitem__", get, raising=False)
        yield read


def read_by_the_loop(folder: Path) -> set[str]:
    """What loaders, solvers, hooks and the set-up read of any config."""
    cfg = load_config(
        "segformer/shapes_semantic_small", ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(folder)]
    )
    cfg.TEST.EXPECTED_RESULTS, cfg.SOLVER.CLIP_GRADIENTS.ENABLED = [["a", "b", 1.0, 0.1]], True
    cfg.TEST.AUG.ENABLED = True
    with recorded(cfg) as read:
        model = build_model(cfg)
        for name in OPTIMIZERS.built_in:
            cfg.SOLVER.OPTIMIZER = name
            optimizer = build_optimizer(cfg, model)
        gradient_clip(cfg)
        for name in ("MultiStep", "Cosine", "StepWithFixedGamma", "Poly"):
            cfg.SOLVER.LR_SCHEDULER_NAME = f"Warmup{name}LR"
            build_lr_scheduler(cfg, optimizer)
        build_train_loader(cfg)
        build_evaluator(cfg, cfg.DATASETS.TEST[0], None, ["semantic"])
        DefaultTrainer.auto_scale_workers(cfg, 1)
        trainer = Trainer(cfg)
        trainer.build_hooks()
        with_views(cfg, model.eval(), tasks_of)
        verify_results(cfg, {"a": {"b": 1.0}})
    return read


@pytest.fixture(scope="module")
def of_the_loop(tmp_path_factory) -> set[str]:
    return read_by_the_loop(tmp_path_factory.mktemp("loop"))


def other_than(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    return type(value)([*value, 7]) if value is not None else 1.0


def refusal(cfg: CfgNode, key: str) -> str:
    """The message, in one line; "" where the key is read."""
    try:
        check_stock_keys(cfg, [key])
    except ValueError as error:
        return str(error).replace("\n", "?")
    return ""


def test_the_walk_covers_all_keys() -> None:
    assert len(stock_defaults()) >= 204  # of detectron2's late 2024; later ones add some
    assert {"TEST.AUG.FLIP", "MODEL.RPN.NMS_THRESH", "GLOBAL.HACK"} <= set(stock_defaults())


@pytest.mark.usefixtures("few_shapes")  # a part of the thousand pictures
@pytest.mark.parametrize("name", CONFIGS)
def test_each_key_is_read_or_refused(name: str, of_the_loop: set[str]) -> None:
    opts = ["MODEL.DEVICE", "cpu", "MODEL.VIT.PRETRAINED", "False", *CONFIGS[name]]
    if "build_resnet_backbone" in opts:
        opts += ["MODEL.RESNETS.OUT_FEATURES", "['res2', 'res3', 'res4', 'res5']"]
    cfg = load_config(name, opts)
    with recorded(cfg) as read:
        build_model(cfg)
        build_mapper(cfg, is_train=True)
        build_mapper(cfg, is_train=False)
    is_referring = cfg.INPUT.MAPPER == "referring"
    found = read | {x for x in of_the_loop if not (is_referring and x.startswith("INPUT."))}
    check_stock_keys(cfg, opts[0::2])
    refused, unread = set(), []
    for key, default in stock_defaults().items():
        *groups, leaf = key.split(".")
        node = value_of(cfg, ".".join(groups)) if groups else cfg
        before, node[leaf] = node[leaf], other_than(default)
        message = refusal(cfg, key)
        if message:
            assert message.startswith(f"{key} is {node[leaf]!r}, which nothing reads with ")
            refused.add(key)
        elif key not in found and not any(fnmatchcase(key, pattern) for pattern in ELSEWHERE):
            unread.append(key)
        node[leaf] = before
    assert not unread
    assert not {key for key in refused & read if not key.startswith("INPUT.")}  # by the model
    assert {"MODEL.RETINANET.NUM_CLASSES", "GLOBAL.HACK"} <= refused


def test_what_a_file_says_itself_counts_as_said(repo_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    base = repo_dir / "configs/segformer/shapes_semantic_small.yaml"
    path.write_text(f"_BASE_: {base}\nMODEL:\n  RESNETS:\n    DEPTH: 101\n")
    cfg = load_config(path)
    assert own_keys(path) == {"_BASE_", "MODEL.RESNETS.DEPTH"}
    with pytest.raises(ValueError, match=r"^MODEL\.RESNETS\.DEPTH is 101, which nothing reads"):
        check_stock_keys(cfg, own_keys(path))
    # the base of another backbone may have set it, and so may what a written config comes from
    dump = tmp_path / "config.yaml"
    dump.write_text(cfg.dump())
    above = tmp_path / "above.yaml"
    above.write_text("_BASE_: own.yaml\nSEED: 1\n")
    for file in (dump, above):
        check_stock_keys(load_config(file), own_keys(file))
    assert own_keys(None) == set()


def test_no_config_says_what_nothing_reads(repo_dir: Path) -> None:
    names = list((repo_dir / "configs").glob("[!_l]*/[!_]*.yaml"))
    assert len(names) > 100
    for path in names:
        if own_keys(path) & set(stock_defaults()):
            check_stock_keys(load_config(path), own_keys(path))
