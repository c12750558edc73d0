"""From a config to its predictor."""

from typing import Any

import detectron2.data.transforms as T
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from ..acceleration import prepare_as_configured
from ..checkpoint import Checkpointer
from ..checkpoint.download import split_options
from ..checkpoint.files import find_file, read_checkpoint
from ..checkpoint.undrawn import undrawn
from ..config.checks import check_device
from ..config.defaults import set_semantic_output
from ..config.description import use_stored_classes
from ..config.input_checks import check_channels
from ..config.loading import use_words_of_checkpoint
from ..config.parts import check_registered, naming_parts
from ..config.tasks import tasks_of
from ..data.augmentation import Resize, build_augmentations, reading_config
from ..data.class_metadata import class_metadata
from ..data.readers import build_reader
from ..runtimes import Session
from ..runtimes.session import is_exported
from ..views import check_views, with_views
from .exported import build_exported, open_for, use_size_of_exported
from .predictor import Predictor


def build_predictor(
    cfg: CfgNode,
    task: str,
    confidence_threshold: float | None = None,
    content: dict[str, Any] | None = None,
    session: Session | None = None,
) -> Predictor:
    """The config's model with MODEL.WEIGHTS, on MODEL.DEVICE; an exported file on the CPU.

    Names and colours are those that the checkpoint stores, where the config's data set has others.

    Args:
        task: one of ``tasks_of(cfg)``, the only one that a model of this project then computes.
        confidence_threshold: in [0, 1]; reaches the model too (see ``set_confidence_threshold``).
        content: of the file MODEL.WEIGHTS, where ``read_checkpoint`` has read it before.
        session: of the exported file MODEL.WEIGHTS, where it is open already.

    Raises:
        ValueError: no such device here; weights missing, or of another architecture; TEST.TILES or
            TEST.AUG are not for this model.
        ModuleNotFoundError: the runtime of an exported file is not installed.
    """
    cfg = cfg.clone()
    cfg.defrost()
    check_channels(cfg)
    cfg.TEST.TASKS = [task]
    if confidence_threshold is not None:
        set_confidence_threshold(cfg, confidence_threshold)
    check_views(cfg, (task,))
    model = build_network(cfg, task, content, session)
    return predictor_around(cfg, model, task, confidence_threshold)


def build_network(
    cfg: CfgNode, task: str, content: dict[str, Any] | None, session: Session | None
) -> nn.Module:
    """The model of :func:`build_predictor`, for TEST.TASKS, without TEST.TILES and TEST.AUG.

    ``cfg`` gets, in place, the classes that the checkpoint stores and the size of an exported file.

    Args:
        task: one of TEST.TASKS, with whose input the config is checked before the model is built.
    """
    if session is None and is_exported(cfg.MODEL.WEIGHTS):
        session = open_for(cfg)
    if session is not None:
        use_size_of_exported(cfg, session)
        return build_exported(cfg, session)
    return _build(cfg, task, content)


def predictor_around(
    cfg: CfgNode, model: nn.Module, task: str, confidence_threshold: float | None = None
) -> Predictor:
    """A predictor with ``model`` of :func:`build_network`, after which ``cfg`` is as it left it."""
    reader = build_reader(cfg)
    return Predictor(
        model=with_views(cfg, model, tasks_of),
        task=task,
        resize=_resize(cfg, task),
        image_format=cfg.INPUT.FORMAT,
        confidence_threshold=confidence_threshold,
        metadata=class_metadata(cfg),
        reader=None if reader.is_of_three else reader,
    )


def _build(cfg: CfgNode, task: str, content: dict[str, Any] | None) -> nn.Module:
    """The config's model with its weights, ready for inference; the classes that the checkpoint
    stores go into the config."""
    check_device(cfg.MODEL.DEVICE)
    check_registered(cfg)
    if content is None and cfg.MODEL.WEIGHTS:
        content = read_checkpoint(find_file(split_options(cfg.MODEL.WEIGHTS)[0]))
    use_stored_classes(cfg, content or {}, cfg.MODEL.WEIGHTS)
    _resize(cfg, task)  # what is wrong with it is said before the model is built
    use_words_of_checkpoint(cfg)
    with naming_parts(cfg), undrawn(bool(cfg.MODEL.WEIGHTS)):
        model = build_model(cfg)
    Checkpointer(model).load(
        cfg.MODEL.WEIGHTS, checkpointables=[], require_complete=True, content=content
    )
    return prepare_as_configured(cfg, model.eval())


def _resize(cfg: CfgNode, task: str) -> T.Augmentation:
    """What the mapper of the task does to a picture at test time."""
    if task == "referring":
        return Resize(tuple(cfg.INPUT.REFERRING_SIZE))
    (resize,) = build_augmentations(reading_config(cfg), is_train=False)
    return resize


def set_confidence_threshold(cfg: CfgNode, threshold: float) -> None:
    """Tell the model in place, so that doubtful queries and boxes do not take pixels from others.

    The keys are read by detectron2's ROI heads and RetinaNet, its combination of instances and
    stuff, and this project's mask-classification and per-pixel models.
    """
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = threshold
    cfg.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = threshold
    cfg.MODEL.MASK_CLASSIFICATION.TEST.OBJECT_MASK_THRESHOLD = threshold
    cfg.MODEL.MASK_CLASSIFICATION.TEST.SCORE_THRESHOLD = threshold
    set_semantic_output(cfg, "scores")  # labels tell no probability
