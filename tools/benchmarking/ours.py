"""This project's side. It reads the weights that the peer wrote, through its checkpoint layouts."""

from collections.abc import Callable
from typing import Any

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances
from torch import Tensor, nn

from d2seg.acceleration import flush_denormals, prepare_for_inference, prepare_for_training
from d2seg.checkpoint.layouts import find_layout
from d2seg.config.loading import load_config
from d2seg.mask_classification import postprocessing
from d2seg.mask_classification.mask_resizer import MaskResizer
from d2seg.mask_classification.query_masks import ImageMasks
from d2seg.prediction.selection import label_map

from .contender import Contender, Outputs, result_arrays
from .works import (
    CONFIGS,
    DTYPES,
    Work,
    ground_truth,
    padded,
    padded_size,
    picture,
    queries,
)


class Ours(Contender):
    """This project."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        flush_denormals()  # as the programs do
        facts = self.model_facts
        if work.what == "postprocess":
            self.step = self._postprocess()
            return
        cfg = load_config(str(CONFIGS / f"{facts.config}.yaml"), labels=True)
        cfg.MODEL.DEVICE = work.device
        cfg.TEST.TASKS = [facts.task]
        self.model = build_model(cfg)
        self._load(self.model)
        if work.what == "training":
            prepare_for_training(self.model.train())
            self.step = self._training_step()
            return
        self.model.eval()
        prepare_for_inference(self.model, DTYPES[work.dtype])
        self.model.requires_grad_(False)  # the counter of operations follows gradients otherwise
        height, width = work.size
        example = {"image": picture(work.size), "height": height, "width": width}
        self.step = lambda: self._infer(example)

    def _in_dtype(self) -> Any:
        if self.work.what == "inference":  # the model was brought to its dtype
            return self.step()
        return super()._in_dtype()

    @torch.inference_mode()
    def _infer(self, example: dict) -> Tensor:
        result = self.model([example])[0]
        if self.model_facts.task == "panoptic":
            return result["panoptic_seg"][0]
        return label_map(result["sem_seg"])

    def _load(self, model: nn.Module) -> None:
        if not self.weights_file.is_file():  # without a peer
            return
        state = torch.load(self.weights_file, weights_only=True)
        missing, unexpected = model.load_state_dict(
            find_layout(state.keys()).convert(state), strict=False
        )
        if missing or unexpected:
            raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")

    @torch.inference_mode()
    def _raw_outputs(self) -> Outputs:
        model, image = self.model, picture(self.work.size)
        if self.model_facts.kind == "pixels":
            features = model.backbone(padded(model.normalise(image)[None]))
            return [model.decode_head(features).float().cpu().numpy()]
        features = model.backbone(padded(model.normalise(image)[None]))
        logits, masks = model.transformer_decoder(model.pixel_decoder(features))
        return [logits[-1].float().cpu().numpy(), masks.all()[-1].float().cpu().numpy()]

    def outputs(self) -> Outputs:
        if self.work.what == "inference":
            return self._raw_outputs()
        if self.work.what == "training":
            return []  # the losses are taken at random points, and with dropout in MaskFormer
        return result_arrays(self.work.task, self.step())

    def _training_step(self) -> Callable[[], Any]:
        classes, masks = ground_truth(self.model_facts.num_classes, self.work.size)
        instances = Instances(self.work.size, gt_classes=classes, gt_masks=BitMasks(masks))
        example = {"image": picture(self.work.size), "instances": instances}

        def step() -> None:
            self.model.zero_grad()
            losses = self.model([example])
            sum(losses.values()).backward()

        return step

    def _postprocess(self) -> Callable[[], Any]:
        num_classes, task = self.model_facts.num_classes, self.work.task
        logits, *parts = (t.to(self.device) for t in queries(num_classes, self.work.size))
        masks = ImageMasks(*parts)
        resize = MaskResizer(padded_size(self.work.size), self.work.size)
        things = frozenset(range(80))
        functions = {
            "panoptic": lambda: postprocessing.panoptic_inference(
                logits,
                masks,
                resize,
                thing_ids=things,
                object_mask_threshold=0.8,
                overlap_threshold=0.8,
                intersect=True,
            ),
            "instance": lambda: postprocessing.instance_inference(
                logits, masks, resize, thing_ids=things, max_instances=100, score_threshold=0.0
            ),
            "semantic": lambda: postprocessing.semantic_inference(logits, masks, resize),
        }
        return torch.inference_mode()(functions[task])
