"""A network in eager mode and in the runtimes of its exported file: normalised picture to logits
and masks, without what makes results of them."""

from pathlib import Path
from typing import Any

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np
import torch
from detectron2.modeling import build_model
from torch import nn

from d2seg.acceleration import prepare_for_inference
from d2seg.config.loading import load_config
from d2seg.export.exporting import Exported, Request, export
from d2seg.export.network import Network
from d2seg.mask2former.transformer_decoder import MaskedAttentionDecoder
from d2seg.runtimes import Session, open_session

from .contender import Contender, Outputs
from .works import CONFIGS, DTYPES, NETWORKS, Work, padded_size

FILES = {"onnxruntime": (".onnx", "onnx"), "openvino": (".xml", "openvino")}
RUNTIMES = ("eager", *FILES)
MASK_LEVEL = 10.0  # random weights make mask logits of -3 to 5


def seeded_model(work: Work) -> tuple[Any, nn.Module]:
    """The config and its model with random weights, the same in every process."""
    cfg = load_config(str(CONFIGS / f"{NETWORKS[work.model].config}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.TIMM.PRETRAINED = cfg.MODEL.VIT.PRETRAINED = False
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    if isinstance(getattr(model, "transformer_decoder", None), MaskedAttentionDecoder):
        attend_everywhere(model)
    return cfg, model


@torch.no_grad()
def attend_everywhere(model: nn.Module) -> None:
    """Raise all mask logits by ``MASK_LEVEL``, through a channel of the per-pixel embedding that is
    1 everywhere. Those of random weights lie around the threshold of masked attention, which
    rounding crosses here and there: two right networks differ by far more than they round."""
    features = model.pixel_decoder.mask_features
    embedding = model.transformer_decoder.mask_embed.layers[-1]
    features.weight[0], features.bias[0] = 0, 1
    embedding.weight[0], embedding.bias[0] = 0, MASK_LEVEL


def export_for(work: Work, name: str) -> Exported:
    """Write the file of a runtime but "eager" into the folder."""
    cfg, model = seeded_model(work)
    suffix, form = FILES[name]
    request = Request(form, work.dtype, padded_size(work.size), False)
    return export(cfg, model, Path(work.folder) / f"model{suffix}", request)


def inputs_of(session: Session) -> list[np.ndarray]:
    """Those of ``Network.examples`` with the seed 1."""
    size = tuple(session.description["size"])
    generator = torch.Generator().manual_seed(1)
    arrays = [torch.randn(1, 3, *size, generator=generator).numpy()]
    if "image_size" in session.description["inputs"]:
        arrays.append(np.asarray(size, np.float32))
    return arrays


class RuntimeSide(Contender):
    """One of ``RUNTIMES``."""

    def __init__(self, work: Work, name: str) -> None:
        super().__init__(work)
        start = self.now()
        if name == "eager":
            network = Network(seeded_model(work)[1])
            prepare_for_inference(network.model, DTYPES[work.dtype])
            inputs = network.examples(padded_size(work.size), seed=1).values()
            self.step = lambda: network(*inputs)
        else:
            file = Path(work.folder) / f"model{FILES[name][0]}"
            session = open_session(file, name, trusted=True)
            arrays = inputs_of(session)
            self.step = lambda: session(*arrays)
        self.seconds = self.now() - start

    @torch.inference_mode()
    def _in_dtype(self) -> Any:
        return self.step()

    def outputs(self) -> Outputs:
        found = self._in_dtype()
        return [torch.as_tensor(value).float().numpy() for value in found.values()]

    def start(self) -> float:
        """Seconds until it was ready to run, imports apart."""
        return self.seconds
