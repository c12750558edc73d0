"""What a config's model is asked for: which tasks, and which expressions."""

from collections.abc import Sequence

from detectron2.config import CfgNode

TASKS = ("panoptic", "semantic", "instance", "referring")
# what detectron2's own meta-architectures output, whatever TEST.TASKS says
_STOCK_TASKS = {
    "GeneralizedRCNN": ("instance",),
    "RetinaNet": ("instance",),
    "ProposalNetwork": ("instance",),
    "SemanticSegmentor": ("semantic",),
    "PanopticFPN": ("panoptic", "semantic", "instance"),
    "PanopticDeepLab": ("panoptic", "semantic", "instance"),
}


def tasks_of(cfg: CfgNode) -> tuple[str, ...]:
    """The tasks that the config's model outputs, of ``TASKS``.

    TEST.TASKS, or where that is empty all that a meta-architecture of detectron2 gives.

    Raises:
        ValueError: TEST.TASKS names a task that there is not or that detectron2's model does not
            give; or it is empty and the model is none of detectron2's.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    offered = _STOCK_TASKS.get(name)
    if name == "PanopticFPN" and not cfg.MODEL.PANOPTIC_FPN.COMBINE.ENABLED:
        offered = ("semantic", "instance")
    if not cfg.TEST.TASKS:
        if offered is None:
            raise ValueError(
                f"TEST.TASKS is empty; {name} needs at least one of {list(TASKS)} in it"
            )
        return offered
    allowed = TASKS if offered is None else offered
    for task in cfg.TEST.TASKS:
        if task not in allowed:
            raise ValueError(f"TEST.TASKS has '{task}'; {name} offers {list(allowed)}")
    return tuple(cfg.TEST.TASKS)


def gives_masks(cfg: CfgNode) -> bool:
    """Whether the objects that the config's model finds have masks, or boxes alone."""
    has_boxes = _STOCK_TASKS.get(cfg.MODEL.META_ARCHITECTURE) == ("instance",)
    return cfg.MODEL.MASK_ON or not has_boxes


def classes_key(cfg: CfgNode) -> str:
    """The key of the number of classes that the config's model tells apart."""
    is_boxes = cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN"
    return f"MODEL.{'ROI_HEADS' if is_boxes else 'SEM_SEG_HEAD'}.NUM_CLASSES"


def num_classes_of(cfg: CfgNode) -> int:
    """The number under :func:`classes_key`."""
    return cfg.MODEL[classes_key(cfg).split(".")[1]].NUM_CLASSES


def choose_task(cfg: CfgNode, wanted: str | None, expressions: Sequence[str] = ()) -> str:
    """``wanted``, or without it the task that there are expressions for, or else the first of
    ``TASKS`` that the model offers.

    Raises:
        ValueError: the model does not offer it; expressions are missing, or nothing takes them.
    """
    offered = tasks_of(cfg)
    model = f"{cfg.MODEL.META_ARCHITECTURE} with this config"
    if expressions and "referring" not in offered:
        raise ValueError(
            f"--expression is for the task referring; {model} offers {', '.join(offered)}"
        )
    if wanted is None:
        wanted = "referring" if expressions else min(offered, key=TASKS.index)
    elif wanted not in offered:
        raise ValueError(f"{model} offers {', '.join(offered)}, not {wanted}")
    check_expressions(wanted, expressions)
    return wanted


def check_expressions(task: str, expressions: Sequence[str]) -> None:
    """See that there are expressions for the task referring and for no other.

    Raises:
        ValueError: there are none, or some for another task; one is empty; a single string.
    """
    if isinstance(expressions, str):
        raise ValueError(f"expressions is the string {expressions!r}; give a list of strings")
    if task != "referring":
        if expressions:
            raise ValueError(
                f"the expression {expressions[0]!r} is for the task referring; the task {task} "
                "takes none"
            )
        return
    if not expressions:
        raise ValueError(
            "the task referring needs an expression that says what to look for: "
            '--expression "the dog on the left", in Python expressions=["the dog on the left"]'
        )
    for expression in expressions:
        if not expression.strip():
            raise ValueError(
                f"the expression {expression!r} is empty; say what to look for, as "
                "'the dog on the left'"
            )
