"""ReSTR (Kim et al. 2022, "ReSTR: Convolution-free Referring Image Segmentation Using
Transformers") as a detectron2 meta-architecture: a picture and expressions in, a mask for each out.

B images, E expressions of all of them, N = h * w patches, T tokens, C channels.
"""

from collections.abc import Iterator, MutableMapping, Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.backbone import Backbone
from detectron2.structures import Instances
from torch import Tensor, nn

from ..backbones.outputs import select_features
from ..layers.chunking import budget
from ..layers.position_encoding import sine_position_encoding
from ..layers.resampling import resize
from ..layers.segmentor import Segmentor
from .decoder import MaskDecoder
from .examples import name_of, padded_masks, sentences_of
from .fusion import FusionEncoder
from .losses import ReferringLoss
from .text_encoder import TextEncoder, build_text_encoder

# With the usual 10000 most channels hardly differ from one end of a picture to the other: a small
# model found "the leftmost star" at 34 mIoU, with 100 at 62 (docs/benchmarks.md)
_POSITION_TEMPERATURE = 100.0
_NUMBERS_AT_ONCE = budget(1 << 25)  # of the fusion encoder's widest activations


@META_ARCH_REGISTRY.register()
class ReSTR(Segmentor):
    """Visual and language encoder, fusion encoder, mask decoder.

    A picture is encoded once, however many expressions there are for it.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        in_feature: str,
        text_encoder: TextEncoder,
        fusion: FusionEncoder,
        decoder: MaskDecoder,
        loss: ReferringLoss,
        add_positions: bool = False,
        mask_threshold: float = 0.5,
        min_pixels: int = 0,
        pixel_mean: list[float],
        pixel_std: list[float],
    ) -> None:
        """
        Args:
            in_feature: the backbone's map that meets the language; a norm follows it.
            add_positions: a sine position encoding is added to the normed map, for backbones that
                know no places, as "leftmost" asks for; the paper's ViT has positions of its own.
            mask_threshold: a pixel belongs to the object if its probability is above.
            min_pixels: masks of fewer pixels at the result's size are emptied: no such object.
            backbone, pixel_mean, pixel_std: see :class:`Segmentor`.
        """
        super().__init__(backbone=backbone, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.in_feature = in_feature
        self.vision_norm = nn.LayerNorm(backbone.output_shape()[in_feature].channels)
        self.text_encoder = text_encoder
        self.fusion = fusion
        self.decoder = decoder
        self.loss = loss
        channels = backbone.output_shape()[in_feature].channels
        self.position_scale = nn.Parameter(torch.ones(channels)) if add_positions else None
        self.mask_threshold = mask_threshold
        self.min_pixels = min_pixels

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        node, backbone = cfg.MODEL.RESTR, build_backbone(cfg)
        shape = select_features(
            cfg, "MODEL.RESTR.IN_FEATURE", [node.IN_FEATURE], backbone.output_shape()
        )[node.IN_FEATURE]
        fusion = node.FUSION
        return {
            "backbone": backbone,
            "in_feature": node.IN_FEATURE,
            "text_encoder": build_text_encoder(node.TEXT, fusion.DIM),
            "fusion": FusionEncoder(
                vision_dim=shape.channels,
                text_dim=fusion.DIM,
                dim=fusion.DIM,
                depth=fusion.DEPTH,
                num_heads=fusion.NUM_HEADS,
                mlp_ratio=fusion.MLP_RATIO,
                share_weights=fusion.SHARE_WEIGHTS,
                normalize=fusion.NORMALIZE,
            ),
            "decoder": MaskDecoder(fusion.DIM, node.DECODER_DIMS),
            "loss": ReferringLoss(
                mask_weight=node.LOSS.MASK_WEIGHT,
                patch_weight=node.LOSS.PATCH_WEIGHT,
                dice_weight=node.LOSS.DICE_WEIGHT,
            ),
            "add_positions": node.ADD_POSITIONS,
            "mask_threshold": node.TEST.MASK_THRESHOLD,
            "min_pixels": node.TEST.MIN_PIXELS,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """
        Args:
            batched_inputs: mapped examples with ``image`` (3, H, W) uint8 or float on the 0..255
                scale and ``expressions``, strings or dicts with a ``sentence``; in training
                ``expression_masks`` (E, H, W) bool, all False for an expression without an object;
                at inference optionally ``height`` and ``width`` of the result.

        Returns:
            In training the weighted losses; else per image {"referring": Instances} with
            ``pred_masks`` (E, height, width) bool, all False where no object was found, ``scores``
            (E,), the mean probability over the mask (where it is empty, the highest one), and
            ``expressions``, E strings.

        Raises:
            ValueError: no vocabulary; an expression without a word, or, as a string, without one
                that the vocabulary has; in training, an example without masks or all of them
                without expressions.
        """
        if self.training:
            return self._losses(batched_inputs)
        return [{"referring": self._result(example)} for example in batched_inputs]

    def check_expressions(self, expressions: Sequence[str]) -> None:
        """See that each has a word that the vocabulary knows.

        Raises:
            ValueError: one has none, or there is no vocabulary.
        """
        self.text_encoder.tokenize(expressions, allow_unknown=False)

    def fit_to_checkpoint(
        self, state: MutableMapping[str, Tensor], prefix: str, require_complete: bool
    ) -> None:
        """The norm that ends a pretrained ViT is the one behind the backbone's map.

        Raises:
            ValueError: two fusion encoders in the checkpoint, where the model has one for both.
        """
        blocks = getattr(getattr(self.backbone, "model", None), "blocks", ())
        if f"{prefix}backbone.model.blocks.{len(blocks)}.norm1.weight" not in state:
            for name in ("weight", "bias"):
                theirs = state.pop(f"{prefix}backbone.model.norm.{name}", None)
                if theirs is not None and theirs.shape == self.vision_norm.weight.shape:
                    state.setdefault(f"{prefix}vision_norm.{name}", theirs)
        if self.fusion.language_seed is not self.fusion.vision_language:
            return
        for name in self.fusion.vision_language.state_dict():
            one, other = (
                state.get(f"{prefix}fusion.{encoder}.{name}")
                for encoder in ("vision_language", "language_seed")
            )
            if one is not None and other is not None and not torch.equal(one, other):
                raise ValueError(
                    "the checkpoint has two fusion encoders, the model one for both; set "
                    "MODEL.RESTR.FUSION.SHARE_WEIGHTS False"
                )

    def network(self, images: Tensor, ids: Tensor, is_word: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (1, 3, H, W), normalised, of the size that the model takes.
            ids: (E, T) int64, token ids of expressions for the picture.
            is_word: (E, T) bool.

        Returns:
            ``mask_logits`` (E, h, w).
        """
        features = self.encode_images(images)
        image_of = torch.zeros_like(ids[:, 0])
        return {"mask_logits": self.logits_of_tokens(features, ids, is_word, image_of)[0]}

    def example_words(self, num_expressions: int = 2) -> dict[str, Tensor]:
        """Inputs of :meth:`network` beside the images, of made-up expressions."""
        ids, is_word = self.text_encoder.example(num_expressions)
        return {"ids": ids, "is_word": is_word}

    def encode_images(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to normed patches (B, C, h, w)."""
        features = self.backbone(images)[self.in_feature]
        features = self.vision_norm(features.permute(0, 2, 3, 1))  # (B, h, w, C)
        if self.position_scale is not None:
            positions = sine_position_encoding(
                *features.shape[1:], features.device, temperature=_POSITION_TEMPERATURE
            )
            positions = self.position_scale * positions.permute(1, 2, 0)
            features = features + positions.to(features.dtype)
        return features.permute(0, 3, 1, 2)

    def logits(
        self, features: Tensor, sentences: list[str], image_of: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            features: (B, C, h, w) of :meth:`encode_images`.
            sentences: E expressions.
            image_of: (E,) int64, the image of each.

        Returns:
            Mask logits (E, h * 2^L, w * 2^L) and patch logits (E, h, w).
        """
        ids, is_word = self.text_encoder.tokenize(sentences)
        return self.logits_of_tokens(features, ids, is_word, image_of)

    def logits_of_tokens(
        self, features: Tensor, ids: Tensor, is_word: Tensor, image_of: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`logits`, of token ids (E, T) and whether each is a word (E, T)."""
        grid = features.shape[-2:]
        patches = self.fusion.project_vision(features.flatten(2).mT)
        text = self.text_encoder(ids, is_word)
        patch_logits, fused = self.fusion(patches, text, is_word, image_of)
        projection = self.fusion.proj_patch.weight
        mask_logits = self.decoder(patches, fused, projection, patch_logits, image_of, tuple(grid))
        return mask_logits, patch_logits.unflatten(1, grid)

    def _losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        sentences = [sentences_of(example) for example in batched_inputs]
        if not any(sentences):
            raise ValueError(
                f"{name_of(batched_inputs[0])}: no training sample of the batch has an expression"
            )
        images = self.normalised_batch(batched_inputs).tensor
        masks = padded_masks(batched_inputs, images.shape[-2:]).to(self.device)
        counts = torch.tensor([len(of_image) for of_image in sentences])
        image_of = torch.arange(len(counts)).repeat_interleave(counts).to(self.device)
        features = self.encode_images(images)
        flat = [sentence for of_image in sentences for sentence in of_image]
        mask_logits, patch_logits = self.logits(features, flat, image_of)
        return self.loss(mask_logits, patch_logits, masks)

    def _result(self, example: dict) -> Instances:
        height, width = example["image"].shape[-2:]
        size = (example.get("height", height), example.get("width", width))
        sentences = sentences_of(example)
        # strings are typed by a user; what a data set says in unknown words only is scored as it is
        self.check_expressions([e for e in example.get("expressions", ()) if isinstance(e, str)])
        images = self.normalised_batch([example]).tensor
        masks, scores = [], []
        for logits in self._mask_logits(images, sentences):
            logits = resize(logits, images.shape[-2:])[:, :height, :width]
            for one in logits.split(1):  # the result may be many times as large as the input
                found, certainty = self._masks(resize(one, size))
                masks.append(found)
                scores.append(certainty)
        result = Instances(size, expressions=sentences)
        empty = torch.zeros((0, *size), dtype=torch.bool, device=self.device)
        result.pred_masks = torch.cat([empty, *masks])
        result.scores = torch.cat([torch.zeros(0, device=self.device), *scores])
        return result

    def _mask_logits(self, images: Tensor, sentences: list[str]) -> Iterator[Tensor]:
        """(E, h, w) of some of the sentences after the others, in fp32."""
        if self.exported is not None:
            if sentences:
                yield self.exported(images, *self.text_encoder.tokenize(sentences))["mask_logits"]
            return
        features = self.encode_images(images)
        for part in self._parts(len(sentences), features):
            image_of = torch.zeros(part.stop - part.start, dtype=torch.int64, device=self.device)
            yield self.logits(features, sentences[part], image_of)[0].float()

    def _masks(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(E, height, width) -> masks of that shape and their scores (E,)."""
        probs = logits.sigmoid()
        masks = probs > self.mask_threshold
        areas = masks.sum((1, 2))
        if self.min_pixels:
            masks &= (areas >= self.min_pixels)[:, None, None]
            areas = masks.sum((1, 2))
        inside = (probs * masks).sum((1, 2)) / areas.clamp(min=1)
        return masks, torch.where(areas > 0, inside, probs.amax((1, 2)))

    def _parts(self, num_expressions: int, features: Tensor) -> Iterator[slice]:
        """Bounded by the hidden layer that the fusion encoder has for each patch and word."""
        num_tokens = features.shape[-2] * features.shape[-1] + self.text_encoder.max_tokens
        width = self.fusion.vision_language[0].mlp.fc1.out_features
        return _NUMBERS_AT_ONCE.slices(num_expressions, num_tokens * width, features.device)
