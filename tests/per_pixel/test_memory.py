"""The memory of a result of 8192 x 8192 pixels and 150 classes, whose scores would be 40 GB."""

import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="peak memory is measured by Unix's getrusage")

SCRIPT = """
import resource
import sys

import torch
from torch.nn import functional as F

from d2seg.per_pixel.inference import InferenceSettings, predict

torch.manual_seed(0)
SIDE = 8192
# plain squares, whose centres are sure of their class
coarse = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
image = F.interpolate(coarse, (SIDE, SIDE), mode="nearest")[0]
conv = torch.nn.Conv2d(3, 150, 1)

with torch.inference_mode():
    labels = predict(
        image,
        (SIDE, SIDE),
        normalise=lambda image: image,
        logits_of=lambda images: conv(images[..., 2::4, 2::4].float() / 255),
        settings=InferenceSettings(
            mode=sys.argv[1], crop_size=(1024, 1024), stride=(768, 768), output="labels"
        ),
        divisibility=32,
    )
    expected = conv(coarse.float() / 255)[0].argmax(0)
centres = SIDE // 64 + torch.arange(32) * (SIDE // 32)
assert labels.shape == (SIDE, SIDE)
assert torch.equal(labels[centres][:, centres].long(), expected)
unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30)
"""


@pytest.mark.parametrize(("mode", "bound"), [("whole", 4.0), ("slide", 2.5)])
def test_labels_of_a_huge_image(mode: str, bound: float) -> None:
    """In GiB, of the whole process: torch, the image, logits at stride 4 and labels."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < bound
