"""What a config names and a user's module may add to: one registry of fvcore's for each kind.

    from d2seg.registries import OPTIMIZERS

    @OPTIMIZERS.register()
    def Lion(cfg, groups):
        return MyLion(groups, lr=cfg.SOLVER.BASE_LR)

A name is that of the function or class. ``--import MODULE``, or IMPORTS in a config, imports a
module that does this; then ``SOLVER.OPTIMIZER Lion`` is what it says. Backbones, heads and
meta-architectures have detectron2's registries.
"""

from collections.abc import Sequence
from typing import Any

from fvcore.common.registry import Registry


class NamedParts(Registry):
    """fvcore's registry for the values of a config key, beside those that the key always takes.

    Args:
        key: of the config, for messages.
        built_in: its values that nothing can replace.
    """

    def __init__(self, key: str, built_in: Sequence[str] = ()) -> None:
        super().__init__(key)
        self.key = key
        self.built_in = tuple(built_in)

    def register(self, obj: Any = None) -> Any:
        """Register a function or class under its name; a decorator where none is given.

        Raises:
            ValueError: the name is taken.
        """
        if obj is None:
            return self.register
        name = obj.__name__
        if name in self.built_in or name in self:
            raise ValueError(f"{self.key} has a '{name}' already; choose another name")
        super().register(obj)
        return obj

    def names(self) -> list[str]:
        return [*self.built_in, *(name for name, _ in self)]

    def check(self, name: str) -> None:
        """
        Raises:
            ValueError: there is nothing of that name; the message says what there is.
        """
        if name not in self.names():
            raise ValueError(
                f"{self.key} is '{name}'; it is one of {', '.join(self.names())}, or what a module "
                "given to --import or IMPORTS registers"
            )


# called with (cfg, is_train); gives what maps a dataset dict to a sample
MAPPERS = NamedParts(
    "INPUT.MAPPER", ("detectron2", "semantic", "panoptic", "instance", "slice", "referring")
)
# called with (cfg); gives what is called with (file name, its content or None) and makes (H, W, C)
# of it, uint8, or float on the scale of 0..255, on which MODEL.PIXEL_MEAN is
READERS = NamedParts("INPUT.READER", ("picture", "bands"))
# called with (cfg, dataset, seed); gives a sampler without an end, as detectron2's, whose order
# follows from the seed
SAMPLERS = NamedParts(
    # those of detectron2 whose keys its default config has
    "DATALOADER.SAMPLER_TRAIN",
    ("TrainingSampler", "RepeatFactorTrainingSampler"),
)
# called with (cfg, groups), the groups of parameters with "lr" and "weight_decay" each
OPTIMIZERS = NamedParts("SOLVER.OPTIMIZER", ("SGD", "ADAMW", "MUON"))
# called with (cfg, optimizer), once an iteration steps it
LR_SCHEDULERS = NamedParts(
    "SOLVER.LR_SCHEDULER_NAME",
    ("WarmupPolyLR", "WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"),
)
# called with (cfg, dataset_name, output_dir or None); gives a DatasetEvaluator of detectron2's,
# whose results join those of TEST.TASKS
EVALUATORS = NamedParts("TEST.EVALUATORS")
