"""Two processes with half the batch each take the step that one with the whole batch takes.

The images hold different numbers of masks and expressions and of pixels that count, so that
normalisers per process would show. Tolerance 1e-5, relative to the largest gradient of a parameter.
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
from families import dstransunet_config, maskformer_config, restr_config
from families.drawing import draw_from_pools
from families.mask_classification import example
from families.processes import run_in_two_processes

TOLERANCE = 1e-5
ROUNDING = 1e-6  # the gradient of a bias before a norm, which is zero
METHODS = ("maskformer", "restr", "dstransunet")


def batch_of(method: str) -> list[dict]:
    if method == "maskformer":
        labels = [[0, 1, 2, 3], [], [4], [2, 2]]
        return [example(64, 64, row, seed=i) for i, row in enumerate(labels)]
    generator = torch.Generator().manual_seed(0)
    images = [{"image": restr_config.image(seed=i), "file_name": f"{i}.png"} for i in range(4)]
    for image, number in zip(images, (3, 0, 1, 1), strict=True):
        if method == "restr":
            image["expressions"] = list(restr_config.SENTENCES[:number])
            image["expression_masks"] = torch.rand(number, 64, 64, generator=generator) > 0.7
        else:
            image["sem_seg"] = torch.randint(0, 4, (64, 64), generator=generator)
            image["sem_seg"][: 16 * number] = 255
    return images


def config_of(method: str, repo_dir: Path, folder: Path) -> CfgNode:
    if method == "restr":
        words = restr_config.write_vocabulary(folder / "words.txt")
        cfg = restr_config.small_config(repo_dir, words)
        cfg.MODEL.RESTR.LOSS.DICE_WEIGHT = 1.0
        return cfg
    if method == "dstransunet":
        cfg = dstransunet_config.small_config(repo_dir)
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 4
        node = cfg.MODEL.DS_TRANSUNET
        for part in (node.FINE, node.COARSE, node.DECODER):
            part.DROP_PATH_RATE = 0.0  # drawn for each image
        return cfg
    cfg = maskformer_config.small_config(repo_dir)
    cfg.MODEL.MASKFORMER.DROPOUT = 0.0
    return cfg


def step_of(config: str, images: list[dict]) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """The summed loss, averaged over processes; all gradients; all weights after an SGD step.

    SGD, because AdamW's first step is the sign of the gradient, whatever its size.
    """
    draw_from_pools()  # in both processes, as pytest has this one do
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


def worker(configs: dict[str, str], output: str) -> None:
    torch.set_num_threads(1)
    half = slice(2 * comm.get_rank(), 2 * comm.get_rank() + 2)
    results = {name: step_of(config, batch_of(name)[half]) for name, config in configs.items()}
    if comm.is_main_process():
        torch.save(results, output)


@pytest.fixture(scope="module")
def configs(repo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("configs")
    return {method: config_of(method, repo_dir, folder).dump() for method in METHODS}


@pytest.fixture(scope="module")
def of_two(configs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple]:
    output = tmp_path_factory.mktemp("two") / "two.pth"
    run_in_two_processes(worker, configs, str(output))
    return torch.load(output)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_losses_gradients_and_weights_are_equal(
    configs: dict[str, str], of_two: dict[str, tuple], method: str
) -> None:
    loss_of_two, gradients_of_two, weights_of_two = of_two[method]
    loss, gradients, weights = step_of(configs[method], batch_of(method))
    torch.testing.assert_close(loss_of_two, loss, rtol=TOLERANCE, atol=0)
    assert set(gradients_of_two) == set(gradients)
    for name, expected in gradients.items():
        largest = expected.abs().max()
        if largest < ROUNDING:
            assert gradients_of_two[name].abs().max() < ROUNDING, name
        else:
            difference = (gradients_of_two[name] - expected).abs().max()
            assert difference <= TOLERANCE * largest.clamp(min=1e-3), name
        torch.testing.assert_close(weights_of_two[name], weights[name], atol=1e-6, rtol=1e-5)
