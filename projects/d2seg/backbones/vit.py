"""Plain vision transformers (Dosovitskiy et al. 2021) of timm as backbones that give the outputs of
chosen blocks, as SETR takes them (Zheng et al. 2021, section 3.2).

B batch, C channels, (H, W) image, (h, w) = (H, W) / patch size, N = prefix tokens + h * w.
"""

import re
from functools import partial
from typing import Any

import timm
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .freezing import Freezable, Part
from .outputs import leave_out
from .position_table import resize_positions
from .timm import check_model_name

_FEATURE = re.compile(r"block([1-9][0-9]*)")


class ViTBackbone(Freezable, Backbone):
    """A plain ViT whose outputs "block<n>" are the patch tokens after n blocks, without a norm.

    The position embedding belongs to the grid of ``img_size``; for images of another size or
    shape it is resized bilinearly, as the official SETR does when it loads one.
    """

    def __init__(
        self,
        *,
        name: str,
        out_features: tuple[str, ...],
        img_size: tuple[int, int],
        in_channels: int = 3,
        patch_size: int | None = None,
        depth: int | None = None,
        class_token: bool = True,
        drop_path_rate: float = 0.0,
        norm_eps: float | None = None,
        pretrained: bool = False,
        use_checkpoint: bool = False,
    ) -> None:
        """
        Args:
            name: of a timm model, as "vit_large_patch16_384".
            out_features: "block<n>", n from 1 to the depth; later blocks are left out.
            img_size: (H, W) of the position embedding, the crop size of the training.
            patch_size, depth: ``None`` for the model's own.
            class_token: whether there is one; SETR's MLA goes without.
            norm_eps: of the blocks' layer norms; ``None`` for the model's own (1e-6).
            pretrained: timm fetches its weights.
            use_checkpoint: compute the blocks anew in the backward pass, to save memory.

        Raises:
            ValueError: timm has no such model or it is no plain ViT with a position embedding;
                unknown outputs; an image size that is not a multiple of the patch.
        """
        super().__init__()
        norm = None if norm_eps is None else partial(nn.LayerNorm, eps=norm_eps)
        own = {"patch_size": patch_size, "depth": depth, "norm_layer": norm}
        self.model = _create(
            name,
            pretrained=pretrained,
            in_chans=in_channels,
            img_size=img_size,
            drop_path_rate=drop_path_rate,
            **{key: value for key, value in own.items() if value is not None},
        )
        self.patch_size = _patch_size(self.model, name, img_size)
        self.use_checkpoint = use_checkpoint
        leave_out(self.model, "blocks", self._set_outputs(out_features))
        self._leave_out_unused(class_token)

    def _set_outputs(self, out_features: tuple[str, ...]) -> int:
        """Returns the last block that is asked for."""
        depth = len(self.model.blocks)
        numbers = {}
        for feature in out_features:
            match = _FEATURE.fullmatch(feature)
            if match is None or int(match[1]) > depth:
                raise ValueError(
                    f"MODEL.VIT.OUT_FEATURES has '{feature}'; this ViT has block1 to block{depth}"
                )
            numbers[int(match[1])] = feature
        if not numbers:
            raise ValueError("MODEL.VIT.OUT_FEATURES is empty; name one block at least")
        self.name_of_block = dict(sorted(numbers.items()))
        self._out_features = list(self.name_of_block.values())
        self._out_feature_channels = dict.fromkeys(self._out_features, self.model.embed_dim)
        self._out_feature_strides = dict.fromkeys(self._out_features, self.patch_size)
        return max(numbers)

    def _leave_out_unused(self, class_token: bool) -> None:
        """Drop what gives no output here, and with it parameters without a gradient: the norms and
        pooling before the classifier, DeiT's distillation token, and the class token if unwanted.
        """
        model = self.model
        model.norm, model.fc_norm, model.attn_pool = nn.Identity(), nn.Identity(), None
        if not class_token:
            model.cls_token = model.reg_token = None
        if hasattr(model, "dist_token"):
            model.dist_token = None
        height, width = model.patch_embed.grid_size
        has_prefix = not model.no_embed_class
        kept = len(self._prefix_tokens()) if has_prefix else 0
        slots = model.pos_embed.shape[1] - height * width
        positions = model.pos_embed.detach()
        positions = torch.cat([positions[:, :kept], positions[:, slots:]], dim=1)
        model.pos_embed = nn.Parameter(positions)

    def parts(self) -> list[Part]:
        """Patches, prefix tokens and positions, then each block."""
        model = self.model
        tokens = (model.cls_token, model.reg_token, model.pos_embed)
        stem = [model.patch_embed, model.pos_drop, model.norm_pre]
        return [[*stem, *(t for t in tokens if t is not None)], *([b] for b in model.blocks)]

    @property
    def size_divisibility(self) -> int:
        return self.patch_size

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W), H and W multiples of the patch size -> {"block<n>": (B, C, h, w)}.

        Raises:
            ValueError: other sizes.
        """
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"images of {height} x {width} are no multiple of the patch size {self.patch_size}"
            )
        patches = self.model.patch_embed(images)  # (B, h, w, C)
        grid = patches.shape[1:3]
        tokens = self.model.norm_pre(self.model.pos_drop(self._embed(patches)))  # (B, N, C)
        num_prefix = tokens.shape[1] - grid[0] * grid[1]
        features = {}
        for number, block in enumerate(self.model.blocks, start=1):
            if self.use_checkpoint and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
            if number in self.name_of_block:
                feature = tokens[:, num_prefix:].unflatten(1, grid)
                features[self.name_of_block[number]] = feature.permute(0, 3, 1, 2)
        return features

    def _prefix_tokens(self) -> list[Tensor]:
        """(1, 1, C) each: the class token, then registers."""
        groups = [t for t in (self.model.cls_token, self.model.reg_token) if t is not None]
        return [token for group in groups for token in group.split(1, dim=1)]

    def _embed(self, patches: Tensor) -> Tensor:
        """Patches (B, h, w, C) to tokens (B, N, C) with their positions."""
        prefix = self._prefix_tokens()
        positions = self._positions(patches.shape[1:3])
        tokens = patches.flatten(1, 2)
        num_slots = positions.shape[1] - tokens.shape[1]  # prefix tokens that have a position
        tokens = tokens + positions[:, num_slots:]
        if not prefix:
            return tokens
        first = torch.cat(prefix, dim=1)
        if num_slots:
            first = first + positions[:, :num_slots]
        return torch.cat([first.expand(len(tokens), -1, -1), tokens], dim=1)

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """(1, slots + h * w, C) for a grid (h, w)."""
        own, positions = self.model.patch_embed.grid_size, self.model.pos_embed
        num_slots = positions.shape[1] - own[0] * own[1]
        table = positions[:, num_slots:]
        resized = resize_positions(table, own, grid)
        return positions if resized is table else torch.cat([positions[:, :num_slots], resized], 1)


def _create(name: str, **arguments: object) -> VisionTransformer:
    check_model_name("MODEL.VIT.NAME", name)
    try:
        model = timm.create_model(name, num_classes=0, dynamic_img_size=True, **arguments)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"MODEL.VIT.NAME: timm's '{name}' is no plain ViT ({error})") from error
    if not isinstance(model, VisionTransformer) or model.pos_embed is None:
        raise ValueError(
            f"MODEL.VIT.NAME: timm's '{name}' is no plain ViT with a position embedding"
        )
    return model


def _patch_size(model: VisionTransformer, name: str, img_size: tuple[int, int]) -> int:
    height, width = model.patch_embed.patch_size
    if height != width or any(side % height for side in img_size):
        raise ValueError(
            f"MODEL.VIT.IMG_SIZE is {tuple(img_size)}; the sides must be multiples of the patch "
            f"size of {name}, {height}"
        )
    return height


@BACKBONE_REGISTRY.register()
def build_vit_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ViTBackbone:
    backbone = ViTBackbone(**vit_arguments(cfg, input_shape))
    return backbone.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)


def vit_arguments(cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
    """Those of :class:`ViTBackbone`, from MODEL.VIT."""
    vit = cfg.MODEL.VIT
    return {
        "name": vit.NAME,
        "out_features": tuple(vit.OUT_FEATURES),
        "img_size": tuple(vit.IMG_SIZE),
        "in_channels": input_shape.channels,
        "patch_size": vit.PATCH_SIZE or None,
        "depth": vit.DEPTH or None,
        "class_token": vit.CLASS_TOKEN,
        "drop_path_rate": vit.DROP_PATH_RATE,
        "norm_eps": vit.NORM_EPS or None,
        "pretrained": vit.PRETRAINED,
        "use_checkpoint": vit.USE_CHECKPOINT,
    }
