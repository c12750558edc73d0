"""One picture seen several times: in tiles (TEST.TILES), resized and mirrored (TEST.AUG).

A wrapper around a finished model takes and gives what the model does, so that evaluators, drawing
and the predictor need to know nothing of it.
"""

from .asking import scores_asked_for, task_asked_for
from .building import check_views, with_views

__all__ = ["check_views", "scores_asked_for", "task_asked_for", "with_views"]
