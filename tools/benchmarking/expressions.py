#!/usr/bin/env python
"""Time ReSTR on one picture with one expression and with several.

    python tools/benchmarking/expressions.py --threads 2

The picture is encoded once; what several expressions cost beyond one is the fusion encoders and the
decoder. Weights and picture are random, the words made up.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import torch
from detectron2.modeling import build_model

from d2seg.acceleration import DTYPES, prepare_for_inference
from d2seg.config.loading import load_config
from d2seg.text import Vocabulary

CONFIG = "configs/restr/refcoco_unc_referring_vit_base.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", default=CONFIG)
    parser.add_argument("--expressions", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cfg = load_config(args.config_file, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    sentences = [f"the object number {i} on the left" for i in range(args.expressions)]
    with tempfile.TemporaryDirectory() as folder:
        cfg.MODEL.RESTR.TEXT.VOCABULARY = str(Path(folder) / "words.txt")
        Vocabulary.from_sentences(sentences).save(cfg.MODEL.RESTR.TEXT.VOCABULARY)
        model = prepare_for_inference(build_model(cfg).eval(), DTYPES[args.dtype])
    image = torch.randint(0, 256, (3, *cfg.INPUT.REFERRING_SIZE), dtype=torch.uint8)
    times: dict[int, list[float]] = {1: [], args.expressions: []}
    for run in range(args.runs + 1):
        for number, of_number in times.items():  # in turn, so that a slow minute slows both
            start = time.perf_counter()
            with torch.inference_mode():
                model([{"image": image, "expressions": sentences[:number]}])
            if run:  # the first is warm-up
                of_number.append(1000 * (time.perf_counter() - start))
    one, several = (statistics.median(of_number) for of_number in times.values())
    sys.stdout.write(
        f"1 expression {one:.0f} ms, {args.expressions} expressions {several:.0f} ms: "
        f"{several / one:.2f} x\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
