"""Evaluators: panoptic quality, semantic IoU, Dice of each image, instance AP, IoU of referring
expressions, Dice and HD95 of volumes, and the choice among them."""

from .boundary import BoundaryEvaluator
from .build import build_evaluator
from .instance import InstanceEvaluator
from .panoptic_evaluation import PanopticEvaluator
from .panoptic_quality import PanopticQuality
from .per_image import PerImageEvaluator
from .referring import ReferringEvaluator
from .semantic import SemanticEvaluator
from .volumes import VolumeEvaluator, num_unreadable

__all__ = [
    "BoundaryEvaluator",
    "InstanceEvaluator",
    "PanopticEvaluator",
    "PanopticQuality",
    "PerImageEvaluator",
    "ReferringEvaluator",
    "SemanticEvaluator",
    "VolumeEvaluator",
    "build_evaluator",
    "num_unreadable",
]
