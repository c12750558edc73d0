"""Two processes with half the batch each take the step that one with the whole batch takes.

The images hold different numbers of masks, one none at all, so that normalisers per process would
show. Tolerance 1e-5, relative to the largest gradient of a parameter.
"""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import create_ddp_model
from detectron2.modeling import build_model
from detectron2.utils import comm
from torch import Tensor

from d2seg.config import add_d2seg_config
from families.mask_classification import example
from families.maskformer_config import small_config
from families.processes import launch_on_cpu

TOLERANCE = 1e-5


def batch() -> list[dict]:
    labels = [[0, 1, 2, 3], [], [4], [2, 2]]
    return [example(64, 64, row, seed=i) for i, row in enumerate(labels)]


def step_of(config: str, images: list[dict]) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """The summed loss, averaged over processes; all gradients; all weights after an SGD step.

    SGD, because AdamW's first step is the sign of the gradient, whatever its size.
    """
    torch.manual_seed(0)
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.merge_from_other_cfg(CfgNode.load_cfg(config))
    model = build_model(cfg).train()
    wrapped = create_ddp_model(model, device_ids=None)
    loss = sum(wrapped(images).values())
    loss.backward()
    mean = torch.stack(comm.all_gather(loss.detach())).mean()
    trained = {name: p for name, p in model.named_parameters() if p.grad is not None}
    gradients = {name: p.grad.clone() for name, p in trained.items()}
    torch.nn.utils.clip_grad_norm_(list(trained.values()), 1.0)
    torch.optim.SGD(trained.values(), lr=0.1).step()
    return mean, gradients, {name: p.detach() for name, p in trained.items()}


def worker(config: str, output: str) -> None:
    torch.set_num_threads(1)
    half = slice(2 * comm.get_rank(), 2 * comm.get_rank() + 2)
    result = step_of(config, batch()[half])
    if comm.is_main_process():
        torch.save(result, output)


@pytest.mark.slow
def test_losses_gradients_and_weights_are_equal(repo_dir: Path, tmp_path: Path) -> None:
    cfg = small_config(repo_dir)
    cfg.MODEL.MASKFORMER.DROPOUT = 0.0
    output = tmp_path / "two.pth"
    launch_on_cpu(worker, 2, (cfg.dump(), str(output)))
    loss_of_two, gradients_of_two, weights_of_two = torch.load(output)
    loss, gradients, weights = step_of(cfg.dump(), batch())
    torch.testing.assert_close(loss_of_two, loss, rtol=TOLERANCE, atol=0)
    assert set(gradients_of_two) == set(gradients)
    for name, expected in gradients.items():
        difference = (gradients_of_two[name] - expected).abs().max()
        assert difference <= TOLERANCE * expected.abs().max().clamp(min=1e-3), name
        torch.testing.assert_close(weights_of_two[name], weights[name], atol=1e-6, rtol=1e-5)
