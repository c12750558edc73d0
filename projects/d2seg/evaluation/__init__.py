"""Evaluators: panoptic quality, semantic IoU, instance AP, and the choice among them."""

from .build import build_evaluator
from .instance import InstanceEvaluator
from .panoptic_evaluation import PanopticEvaluator
from .panoptic_quality import PanopticQuality
from .semantic import SemanticEvaluator

__all__ = [
    "InstanceEvaluator",
    "PanopticEvaluator",
    "PanopticQuality",
    "SemanticEvaluator",
    "build_evaluator",
]
