"""The other sides: Hugging Face's transformers, and the papers' formulas as they stand."""

from types import SimpleNamespace
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from .contender import Contender, Outputs, result_arrays
from .works import (
    NUM_QUERIES,
    Work,
    ground_truth,
    padded,
    padded_size,
    picture,
    queries,
)


class Transformers(Contender):
    """Hugging Face's transformers."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        facts = self.model_facts
        self.model = build_peer(work.model, facts.num_classes, work.what == "training").to(
            self.device
        )
        torch.save(self.model.state_dict(), self.weights_file)
        mean = torch.tensor([123.675, 116.28, 103.53], device=self.device).view(3, 1, 1)
        std = torch.tensor([58.395, 57.12, 57.375], device=self.device).view(3, 1, 1)
        image = picture(work.size)
        self.pixels = lambda: padded(((image.to(self.device) - mean) / std)[None])
        processors = {
            "mask2former": "Mask2FormerImageProcessor",
            "maskformer": "MaskFormerImageProcessor",
        }
        name = processors.get(work.model, "SegformerImageProcessor")
        self.processor = getattr(transformers, name)()
        if work.what == "training":
            classes, masks = ground_truth(facts.num_classes, work.size)
            self.truth = {
                "class_labels": [classes.to(self.device)],
                "mask_labels": [masks.float().to(self.device)],
            }
            self.model.train()
            self.step = self._train
        elif work.what == "postprocess":
            logits, embeddings, features = queries(facts.num_classes, work.size)
            masks = torch.einsum("qc,chw->qhw", embeddings, features)[..., : -(-work.size[1] // 4)]
            self.predictions = SimpleNamespace(
                class_queries_logits=logits[None].to(self.device),
                masks_queries_logits=masks[None].to(self.device),
            )
            self.step = lambda: self._results(self.predictions, work.task, work.size)
        else:
            self.model.eval()
            self.step = self._infer

    def _train(self) -> None:
        self.model.zero_grad()
        self.model(pixel_values=self.pixels(), **self.truth).loss.backward()

    @torch.inference_mode()
    def _infer(self) -> Any:
        outputs = self.model(pixel_values=self.pixels())
        return self._results(outputs, self.model_facts.task, self.work.size)

    def _results(self, outputs: Any, task: str, size: tuple[int, int]) -> Any:
        function = getattr(self.processor, f"post_process_{task}_segmentation")
        return function(outputs, target_sizes=[size])

    @torch.inference_mode()
    def outputs(self) -> Outputs:
        if self.work.what != "inference":
            return []
        outputs = self.model(pixel_values=self.pixels())
        if self.model_facts.kind == "pixels":
            return [outputs.logits.float().cpu().numpy()]
        found = (outputs.class_queries_logits, outputs.masks_queries_logits)
        return [tensor.float().cpu().numpy() for tensor in found]


def build_peer(model: str, num_classes: int, is_training: bool) -> nn.Module:
    """The published architecture with random weights, under which queries differ in class."""
    if model.startswith("segformer"):
        wide = model.endswith("b5")
        sizes: dict[str, Any] = {
            "depths": [3, 6, 40, 3] if wide else [2, 2, 2, 2],
            "hidden_sizes": [64, 128, 320, 512] if wide else [32, 64, 160, 256],
            "decoder_hidden_size": 768 if wide else 256,
        }
        config = transformers.SegformerConfig(num_labels=num_classes, **sizes)
        return transformers.SegformerForSemanticSegmentation(config)
    backbone = transformers.ResNetConfig(
        out_features=["stage1", "stage2", "stage3", "stage4"], downsample_in_bottleneck=False
    )
    if model == "maskformer":
        decoder = transformers.DetrConfig(num_queries=NUM_QUERIES, decoder_layers=6)
        config = transformers.MaskFormerConfig(
            backbone_config=backbone,
            decoder_config=decoder,
            num_labels=num_classes,
            use_auxiliary_loss=is_training,
            output_hidden_states=is_training,  # which those losses read
        )
        peer = transformers.MaskFormerForInstanceSegmentation(config)
    else:
        config = transformers.Mask2FormerConfig(
            backbone_config=backbone, num_labels=num_classes, num_queries=NUM_QUERIES
        )
        peer = transformers.Mask2FormerForUniversalSegmentation(config)
    nn.init.normal_(peer.class_predictor.weight, std=0.6)
    return peer


class Plain(Contender):
    """The papers' formulas as they stand: every query at image size, then the decision."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        tensors = queries(self.model_facts.num_classes, work.size)
        self.logits, self.embeddings, self.features = (t.to(self.device) for t in tensors)
        self.low = torch.einsum("qc,chw->qhw", self.embeddings, self.features)
        self.step = torch.inference_mode()(getattr(self, f"_{work.task}"))

    def outputs(self) -> Outputs:
        return result_arrays(self.work.task, self.step())

    def _masks(self) -> Tensor:
        size = padded_size(self.work.size)
        full = F.interpolate(self.low[None], size=size, mode="bilinear", align_corners=False)
        return full[0, :, : self.work.size[0], : self.work.size[1]]

    def _semantic(self) -> Tensor:
        probs = self.logits.softmax(-1)[:, :-1]
        return torch.einsum("qk,qhw->khw", probs, self._masks().sigmoid())

    def _panoptic(self) -> tuple[Tensor, list[dict]]:
        masks = self._masks().sigmoid()
        scores, classes = self.logits.softmax(-1).max(-1)
        keep = (classes != self.logits.shape[1] - 1) & (scores > 0.8)
        scores, classes, masks = scores[keep], classes[keep], masks[keep]
        owner = (scores[:, None, None] * masks).argmax(0)
        panoptic = torch.zeros_like(owner, dtype=torch.int32)
        segments: list[dict] = []
        stuff: dict[int, int] = {}
        for query, category in enumerate(classes.tolist()):
            own = masks[query] >= 0.5
            won = owner == query
            visible = won & own
            if not own.sum() or not visible.sum() or won.sum() / own.sum() < 0.8:
                continue
            segment = stuff.get(category) or len(segments) + 1
            if category >= 80:
                stuff[category] = segment
            if segment > len(segments):
                segments.append({"id": segment, "category_id": category})
            panoptic[visible] = segment
        return panoptic, segments

    def _instance(self) -> SimpleNamespace:
        masks = self._masks()
        probs = self.logits.softmax(-1)[:, :-1]
        scores, index = probs.flatten().topk(100)
        chosen, classes = index // probs.shape[1], index % probs.shape[1]
        keep = classes < 80
        scores, masks = scores[keep], masks[chosen[keep]]
        hard = (masks > 0).float()
        quality = (masks.sigmoid() * hard).flatten(1).sum(1) / (hard.flatten(1).sum(1) + 1e-6)
        return SimpleNamespace(pred_masks=hard, scores=scores * quality)
