"""The part of a model that is exported, and inputs for it.

B batch, (H, W) the input, K classes, Q queries, E expressions, T tokens.
"""

import torch
from detectron2.modeling import GeneralizedRCNN, SemanticSegmentor
from torch import Tensor, nn

from ..acceleration import DTYPES, fold_batch_norms, prepare_for_inference
from .boxes import BoxNetwork
from .sizes import STOCK_DIVISIBILITY


class Network(nn.Module):
    """Normalised pictures (1, C, H, W), and what else the model takes, to named tensors."""

    def __init__(self, model: nn.Module, postprocess: str = "") -> None:
        """
        Args:
            model: of this project, or detectron2's ``SemanticSegmentor`` or ``GeneralizedRCNN``; it
                is changed for good.
            postprocess: the task whose results the network gives; empty: logits and masks.

        Raises:
            ValueError: the model cannot be exported, or has no results of the task.
        """
        super().__init__()
        if isinstance(model, GeneralizedRCNN):
            model = BoxNetwork(model)
        if not isinstance(model, SemanticSegmentor) and not hasattr(model, "network"):
            raise ValueError(f"{type(model).__name__} has no part that can be exported")
        if postprocess and not hasattr(model, "network_results"):
            raise ValueError(f"--postprocess: {type(model).__name__} has no results in a graph")
        self.model = model.eval().requires_grad_(False)
        self.postprocess = postprocess
        fold_batch_norms(self.model)

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """The inputs of :meth:`examples`, in their order."""
        if isinstance(self.model, SemanticSegmentor):
            return {"logits": self.model.sem_seg_head(self.model.backbone(*inputs))[0]}
        outputs = self.model.network(*inputs)
        if self.postprocess:
            return self.model.network_results(outputs, inputs[0].shape[-2:], self.postprocess)
        return {name: value.float() for name, value in outputs.items()}

    def convert(self, dtype: str) -> None:
        """Bring the weights to one of ``DTYPES``, for good; inputs and outputs stay fp32."""
        prepare_for_inference(self.model, DTYPES[dtype])

    @property
    def divisibility(self) -> int:
        """Of the sides of the input."""
        if isinstance(self.model, SemanticSegmentor):
            return max(self.model.backbone.size_divisibility, STOCK_DIVISIBILITY)
        return self.model.size_divisibility

    @property
    def has_words(self) -> bool:
        return hasattr(self.model, "example_words")

    @property
    def example_names(self) -> list[str]:
        return list(self.examples((self.divisibility, self.divisibility)))

    def examples(self, size: tuple[int, int], seed: int = 0) -> dict[str, Tensor]:
        """Inputs by name: noise of the range of normalised pictures, and made-up words or the size
        of the picture."""
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(1, len(self.model.pixel_mean), *size, generator=generator)
        if self.has_words:
            return {"images": images, **self.model.example_words()}
        if isinstance(self.model, BoxNetwork):
            return {"images": images, **self.model.example_of_size(size)}
        return {"images": images}


class RunByTorch:
    """A model's own network in the place of an exported file of one size, to compare both."""

    def __init__(self, model: nn.Module, size: tuple[int, int] | None) -> None:
        self.model, self.size = model, size

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        return self.model.network(*inputs)
