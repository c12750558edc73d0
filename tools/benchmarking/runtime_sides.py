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

from d2seg.acceleration import flush_denormals, prepare_for_inference
from d2seg.config.loading import load_config
from d2seg.export.exporting import Exported, Request, export
from d2seg.export.network import Network
from d2seg.mask2former.transformer_decoder import MaskedAttentionDecoder
from d2seg.runtimes import open_session
from d2seg.text import SPECIAL_WORDS, Vocabulary

from .contender import Contender, Outputs
from .works import CONFIGS, DTYPES, NETWORKS, Work, padded_size

FILES = {"onnxruntime": (".onnx", "onnx"), "openvino": (".xml", "openvino")}
RUNTIMES = ("eager", *FILES)
NUM_WORDS = 10_000  # of the model that reads expressions, about as many as RefCOCO has
MASK_LEVEL = 10.0  # random weights make mask logits of -3 to 5


def seeded_model(work: Work) -> tuple[Any, nn.Module]:
    """The config and its model with random weights, the same in every process."""
    cfg = load_config(str(CONFIGS / f"{NETWORKS[work.model].config}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.TIMM.PRETRAINED = cfg.MODEL.VIT.PRETRAINED = False
    if NETWORKS[work.model].kind == "words":
        words = Path(work.folder) / "words.txt"
        Vocabulary((*SPECIAL_WORDS, *(f"w{i}" for i in range(NUM_WORDS)))).save(words)
        cfg.MODEL.RESTR.TEXT.VOCABULARY = str(words)
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
    size = padded_size(work.size)
    inputs = {k: tensor.numpy() for k, tensor in Network(model).examples(size, seed=1).items()}
    np.savez(Path(work.folder) / "inputs.npz", **inputs)  # for sides that have no model
    request = Request(form, work.dtype, size, False)
    return export(cfg, model, Path(work.folder) / f"model{suffix}", request)


class RuntimeSide(Contender):
    """One of ``RUNTIMES``."""

    def __init__(self, work: Work, name: str) -> None:
        super().__init__(work)
        flush_denormals()  # as the programs and the runtimes do
        start = self.now()
        if name == "eager":
            network = Network(seeded_model(work)[1])
            prepare_for_inference(network.model, DTYPES[work.dtype])
            inputs = network.examples(padded_size(work.size), seed=1).values()
            self.step = lambda: network(*inputs)
        else:
            file = Path(work.folder) / f"model{FILES[name][0]}"
            session = open_session(file, name, trusted=True)
            with np.load(Path(work.folder) / "inputs.npz") as stored:
                arrays = [stored[key] for key in session.description["inputs"]]
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
