"""The all-MLP head of SegFormer (Xie et al. 2021, section 3.2), and mmsegmentation's variant.

B batch, C channels of a level, D of the head, K classes, (H, W) the finest level.
"""

import logging

import torch
from detectron2.layers import ShapeSpec, get_norm
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.chunking import UNBOUNDED, Budget
from ..layers.recording import is_recording
from ..layers.resampling import resize, resize_step

logger = logging.getLogger(__name__)

_STRIP = Budget(on_cpu=1 << 19, elsewhere=UNBOUNDED)  # of hidden values: 2 MiB in fp32


class SegFormerHead(nn.Module):
    """A linear layer per level, all resized to the finest, concatenated, fused and classified.

    The layers before the norm are linear in each pixel, bilinear resizing is linear among pixels,
    and the two commute. So a level's linear layer and its part of the fusing one are multiplied to
    a single matrix (D, C), which is applied at the level's own resolution; the results are resized
    and added. At inference the norm is part of that matrix, too.

    mmsegmentation 1.x has a norm and a ReLU behind each level's linear layer, which the paper and
    the authors do not have. The part of the fusing layer still commutes with the resizing.
    """

    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        embed_dim: int = 256,
        norm: str = "BN",
        dropout: float = 0.1,
        level_norms: bool = False,
    ) -> None:
        """
        Args:
            input_shape: of the levels that the head takes.
            level_norms: the variant of mmsegmentation.
            norm: a name of detectron2's ``get_norm``, of a kind of batch norm.
            dropout: probability that a channel is dropped in training.

        Raises:
            ValueError: a norm of another kind.
        """
        super().__init__()
        # the official layer fuses the coarsest level first
        levels = sorted(input_shape, key=lambda name: -input_shape[name].stride)
        self.linears = nn.ModuleDict(
            {
                name: nn.Linear(input_shape[name].channels, embed_dim, bias=not level_norms)
                for name in levels
            }
        )
        self.level_norms = None
        if level_norms:
            self.level_norms = nn.ModuleDict({name: get_norm(norm, embed_dim) for name in levels})
        self.fuse = nn.Conv2d(len(levels) * embed_dim, embed_dim, 1, bias=False)
        self.norm = get_norm(norm, embed_dim)
        if not hasattr(self.norm, "running_var"):
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.NORM is '{norm}'; SegFormer's head takes a batch norm: BN, "
                "naiveSyncBN, SyncBN or FrozenBN"
            )
        self.dropout = nn.Dropout2d(dropout)
        self.predictor = nn.Conv2d(embed_dim, num_classes, 1)
        for linear in (*self.linears.values(), self.predictor):
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        nn.init.kaiming_normal_(self.fuse.weight, nonlinearity="relu")
        nn.init.normal_(self.predictor.weight, std=0.01)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """{level: (B, C, h, w)} -> logits (B, K, H, W)."""
        features = {name: self._hidden(name, features[name]) for name in self.linears}
        weights, bias = self._folded()
        if self.training:
            fused = self.norm(self._fuse(features, weights, bias))
            logits = self._classify(self.dropout(F.relu_(fused)).permute(0, 2, 3, 1))
        elif is_recording():
            fused = self._fuse(features, weights, bias)
            logits = self._classify(F.relu(fused).permute(0, 2, 3, 1))
        else:
            logits = self._infer(features, weights, bias)
        return logits.permute(0, 3, 1, 2)

    def forward_as_published(self, features: dict[str, Tensor]) -> Tensor:
        """The same in the paper's order, for counting its operations: each level is widened,
        resized to the finest and joined to the others before it is fused."""
        *_, finest = self.linears
        size = features[finest].shape[-2:]
        levels = []
        for name, linear in self.linears.items():
            level = linear(features[name].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            level = level if self.level_norms is None else F.relu(self.level_norms[name](level))
            levels.append(resize(level, size))
        hidden = self.dropout(F.relu(self.norm(self.fuse(torch.cat(levels, 1)))))
        return self.predictor(hidden)

    def _hidden(self, name: str, feature: Tensor) -> Tensor:
        """(B, C, h, w) of a level -> (B, h, w, C or D), up to the last layer before the resizing
        that is not linear."""
        feature = feature.permute(0, 2, 3, 1)
        if self.level_norms is None:
            return feature
        linear, norm = self.linears[name], self.level_norms[name]
        if self.training:
            return F.relu_(norm(linear(feature).permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        with torch.autocast(feature.device.type, enabled=False):
            scale, shift = _folded_norm(norm)
            weight = linear.weight * scale[:, None]
        return F.relu_(F.linear(feature, weight, shift))

    def _fuse(
        self, features: dict[str, Tensor], weights: dict[str, Tensor], bias: Tensor | None
    ) -> Tensor:
        """(B, h, w, C) of each level -> (B, D, H, W), before the ReLU."""
        *coarser, finest = features
        fused = F.linear(features[finest], weights[finest], bias).permute(0, 3, 1, 2)
        for name in coarser:
            level = F.linear(features[name], weights[name]).permute(0, 3, 1, 2)
            fused = fused + resize(level, fused.shape[-2:])
        return fused

    def _infer(
        self, features: dict[str, Tensor], weights: dict[str, Tensor], bias: Tensor
    ) -> Tensor:
        """Compute what :meth:`_fuse` does in strips of rows that stay in the cache. Coarser levels
        are widened first; making them taller is a product with few rows, added in place."""
        *coarser, finest = features
        batch_size, height, width, _ = features[finest].shape
        wide = []
        for name in coarser:
            level = F.linear(features[name], weights[name]).permute(0, 3, 1, 2)
            level = resize(level, (level.shape[2], width))
            wide.append(level.permute(0, 2, 3, 1).flatten(2))  # (B, h, W * D)
        steps = [resize_step(level.shape[1], height) for level in wide]
        logits = []
        for strip in _STRIP.slices(height, batch_size * width * len(bias), bias.device):
            fused = F.linear(features[finest][:, strip], weights[finest], bias)
            rows = fused.flatten(2)  # (B, strip, W * D)
            for level, step in zip(wide, steps, strict=True):
                matrix, first = step.matrix(strip.start, strip.stop)
                matrix = torch.from_numpy(matrix).to(rows).expand(batch_size, -1, -1)
                rows.baddbmm_(matrix, level[:, first : first + matrix.shape[2]])
            logits.append(self._classify(F.relu_(rows).unflatten(2, (width, -1))))
        return torch.cat(logits, 1)

    def _classify(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.predictor.weight.flatten(1), self.predictor.bias)

    def _folded(self) -> tuple[dict[str, Tensor], Tensor | None]:
        """Each level's matrix (D, C), or with norms on the levels (D, D), and the bias (D,), in the
        precision of the parameters."""
        with torch.autocast(self.fuse.weight.device.type, enabled=False):
            fuse = self.fuse.weight.flatten(1)
            shift = None
            if not self.training:
                scale, shift = _folded_norm(self.norm)
                fuse = fuse * scale[:, None]
            parts = fuse.chunk(len(self.linears), 1)
            if self.level_norms is not None:
                return dict(zip(self.linears, parts, strict=True)), shift
            weights, bias = {}, shift
            for (name, linear), part in zip(self.linears.items(), parts, strict=True):
                weights[name] = part @ linear.weight
                level_bias = part @ linear.bias
                bias = level_bias if bias is None else bias + level_bias
        return weights, bias

    def fit_to_checkpoint(
        self, state: dict[str, Tensor], prefix: str, require_complete: bool
    ) -> None:
        """See to it that the head's tensors in ``state`` are those of the same variant.

        Raises:
            ValueError: they are not, and ``require_complete``; else they are taken out.
        """
        has_norms = any(name.startswith(f"{prefix}level_norms.") for name in state)
        if f"{prefix}fuse.weight" not in state or has_norms == (self.level_norms is not None):
            return
        whose = "mmsegmentation's, with" if has_norms else "the paper's, without"
        what = f"the checkpoint's SegFormer head is {whose} a norm and a ReLU on each level"
        if require_complete:
            raise ValueError(f"{what}; set MODEL.SEGFORMER.LEVEL_NORMS {has_norms}")
        for name in [name for name in state if name.startswith(prefix)]:
            del state[name]
        logger.warning("%s, the model's is not: the head starts from scratch", what)


def _folded_norm(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Factor and summand of each channel that a batch norm comes down to at inference."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale
