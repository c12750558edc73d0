"""The cross-entropy of two processes, averaged, is that of one with both images.

They have different numbers of pixels that count, so that a normaliser per process would show.
"""

import pytest
import torch
from detectron2.utils import comm
from torch import Tensor

from d2seg.per_pixel.losses import PerPixelLoss
from families.processes import run_in_two_processes

IGNORE = 255
SETTINGS = [{}, {"class_weights": [1.0, 5.0, 2.0]}, {"ohem_threshold": 0.5, "ohem_min_kept": 0}]


def images(ignored: int) -> tuple[Tensor, Tensor]:
    """Logits and labels of two images; the first so many rows of the second do not count."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (2, 8, 8), generator=generator)
    labels[1, :ignored] = IGNORE
    return logits.requires_grad_(), labels


def cases() -> list[tuple[dict, tuple[Tensor, Tensor]]]:
    return [(settings, images(ignored)) for settings in SETTINGS for ignored in (6, 8)]


def loss_and_gradient(settings: dict, logits: Tensor, labels: Tensor) -> tuple[float, list]:
    loss = PerPixelLoss(num_classes=3, ignore_value=IGNORE, **settings)(logits, labels)["ce"]
    return loss.item(), torch.autograd.grad(loss, logits)[0].tolist()


def of_own_image() -> list[tuple[float, list]]:
    own = slice(comm.get_rank(), comm.get_rank() + 1)
    return [
        loss_and_gradient(settings, logits[own].detach().requires_grad_(), labels[own])
        for settings, (logits, labels) in cases()
    ]


def test_mean_of_losses_and_gradients() -> None:
    of_processes = run_in_two_processes(of_own_image)
    for case, *found in zip(cases(), *of_processes, strict=True):
        settings, (logits, labels) = case
        losses, gradients = zip(*found, strict=True)
        expected_loss, expected_gradient = loss_and_gradient(settings, logits, labels)
        assert sum(losses) / 2 == pytest.approx(expected_loss, rel=1e-5)
        # gradients of weights are averaged over the processes
        mean = torch.tensor(gradients)[:, 0] / 2
        torch.testing.assert_close(mean, torch.tensor(expected_gradient), atol=1e-7, rtol=1e-4)
