"""The metrics of an exported file beside those of PyTorch, by the evaluators of ``d2seg eval``."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.modeling import SemanticSegmentor, build_model
from tabulate import tabulate

from ..acceleration import fold_batch_norms
from ..checkpoint import Checkpointer
from ..checkpoint.undrawn import undrawn
from ..engine import Trainer
from ..export.network import RunByTorch
from ..prediction.exported import RunByRuntime, build_exported, use_size_of_exported
from ..runtimes import open_session


def compare_scores(cfg: CfgNode, path: Path, dataset: str) -> str:
    """A table of the metrics of both on a registered data set.

    The model has the weights of ``cfg`` and sees the pictures as the file does, in its size.
    """
    session = open_session(path, trusted=True)
    cfg = cfg.clone()
    cfg.DATASETS.TEST = (dataset,)
    use_size_of_exported(cfg, session)
    with undrawn(bool(cfg.MODEL.WEIGHTS)):
        model = build_model(cfg).eval()
    Checkpointer(model).load(cfg.MODEL.WEIGHTS, checkpointables=[], require_complete=True)
    fold_batch_norms(model)
    if not isinstance(model, SemanticSegmentor):
        model.exported = RunByTorch(model, RunByRuntime(session).size)
    with tempfile.TemporaryDirectory() as folder:
        cfg.OUTPUT_DIR = folder
        of_torch = dict(_metrics(Trainer.test(cfg, model)))
        of_file = dict(_metrics(Trainer.test(cfg, build_exported(cfg, session))))
    rows = [[name, value, of_file[name], of_file[name] - value] for name, value in of_torch.items()]
    return tabulate(rows, headers=["metric", "PyTorch", session.runtime, "difference"])


def _metrics(results: Mapping, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Those of all classes together: ("panoptic_seg/PQ", value), ..."""
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield from _metrics(value, f"{prefix}{name}/")
        elif "-" not in name:  # of one class
            yield prefix + name, float(value)
