"""Installs the package `d2seg` from `projects/`: `pip install -e .` in an environment of your own.

A wheel (`pip wheel --no-deps .`) also holds `configs/`, under d2seg/model_zoo as detectron2 has its
own, and `train_net.py` and `demo.py` under d2seg: `python -m d2seg.train_net` there.

The ranges are what the code accepts; `make` installs within the narrower `constraints.txt`.
detectron2 is not listed, because its maintainers publish no package: `make` brings it into `.venv`
(`requirements-detectron2.txt`), elsewhere install it first.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

REPO = Path(__file__).resolve().parent
# the one place of the version, read without importing what may not be installed yet
VERSION = re.search(
    r'^__version__ = "(.+)"$', (REPO / "projects/d2seg/version.py").read_text(), re.M
)[1]

INSTALL_REQUIRES = [
    "torch>=2.6,<3",  # from 2.6 on, torch.load reads no pickled code unless told to
    "torchvision>=0.21,<1",  # the one of torch 2.6; pip pairs later ones by itself
    "numpy>=1.26,<3",  # 1.26 is the first for Python 3.12; both 1.x and 2.x work
    "scipy>=1.11.3,<2",  # Hungarian matching; 1.11.3 is the first for numpy 1.26
    "timm>=1.0.16,<2",  # backbones by name; timm.layers.Attention with a mask
    "opencv-python-headless>=4.8,<5",  # reads videos, draws text; no X libraries; 5 is untried
    "safetensors>=0.4,<1",  # checkpoints of Hugging Face; before 1.0 the interface may change
    # checksums of checkpoints in a fraction of zlib's time; wheels for these processors
    "isal>=1.5,<2; platform_machine in 'x86_64 AMD64 aarch64 arm64'",
    "tqdm>=4.60,<5",  # progress bars
    "jinja2>=3.1,<4",  # pages of reports; torch requires it, too
    # Needs of detectron2, which is installed without dependencies (and mostly needs of d2seg too)
    "setuptools>=70.1,<81",  # its model zoo imports pkg_resources, gone from 81 on
    "fvcore>=0.1.5,<0.2",
    "iopath>=0.1.9,<0.2",
    "omegaconf>=2.1,<2.4",  # the range detectron2 states
    "yacs>=0.1.8,<0.2",
    "pycocotools>=2.0.7,<3",  # 2.0.7 is the first for Python 3.12
    "pillow>=10,<14",  # 14 is untried
    "matplotlib>=3.8,<4",  # 3.8 is the first for Python 3.12
    "tensorboard>=2.15,<3",
    "cloudpickle>=2.2,<4",
    "tabulate>=0.9,<1",
    "termcolor>=2,<4",
]

SUPERVISION = "supervision>=0.31,<1"  # older ones are untried; brings no OpenCV of its own
SHTAB = "shtab>=1.13,<2"  # older ones are untried; 1.7 takes no functions of one's own
PARQUET = "pyarrow>=14,<24"  # 26 needs numpy 2
SLURM = "submitit>=1.5,<2"
RAY = "ray[data]>=2.40,<3"  # older ones are untried
TIFF = [
    "tifffile>=2024.1.30,<2027",  # TIFFs of any number of bands; older ones are untried
    "imagecodecs>=2024.1.1,<2027",  # what they may be compressed with, as LZW
]
VIDEO = "av>=14,<19"  # PyAV, whose wheels bring FFmpeg and its H.264 encoder; 19 is untried
# `d2seg serve`; FastAPI's own page of its interface loads Swagger UI from another host,
# fastapi-offline brings it along
WEB = [
    "fastapi>=0.115,<1",  # older ones are untried
    "fastapi-offline>=1.7,<2",
    "python-multipart>=0.0.20,<0.1",  # forms; before, Starlette looked for another module
    "uvicorn>=0.30,<1",
]

# `d2seg export` and the runtimes of its files; older ones are untried
ONNX = ["onnx>=1.18,<2", "onnxscript>=0.5,<1", "onnxruntime>=1.22,<2"]
OPENVINO = "openvino>=2025.2,<2027"

# the documents as a site, and the notebooks in it; older ones are untried
SITE = ["mkdocs-material>=9.7,<10", "mkdocs-jupyter>=0.25,<1"]
NOTEBOOKS = ["nbclient>=0.10,<1", "ipykernel>=6.29,<8"]

EXTRAS_REQUIRE = {
    "onnx": ONNX,
    "openvino": [*ONNX, OPENVINO],
    "supervision": [SUPERVISION],  # results for its annotators
    "completion": [SHTAB],  # d2seg --print-completion
    "video": [VIDEO],  # reading and writing videos
    "tiff": TIFF,  # INPUT.READER bands
    "hub": ["huggingface_hub>=0.23,<3"],  # MODEL.WEIGHTS hf://owner/name; 3 is untried
    "parquet": [PARQUET],  # tables of pictures for d2seg predict
    "slurm": [SLURM],  # tools/submit.py
    "ray": [RAY, PARQUET],  # tools/ray_predict.py
    "docs": SITE,  # mkdocs serve
    "web": WEB,  # d2seg serve
    "dev": [
        VIDEO,
        SUPERVISION,
        SHTAB,
        PARQUET,
        SLURM,
        *TIFF,
        *WEB,
        "httpx2>=2,<3",  # clients of d2seg serve; Starlette's test client takes it
        *ONNX,  # 120 MB installed, and OpenVINO's 180: so that every suite runs what is exported
        OPENVINO,
        *SITE,
        *NOTEBOOKS,
        "pytest>=8,<10",
        "pytest-xdist>=3.5,<4",  # tests in several processes
        "hypothesis>=6.100,<7",
        "playwright>=1.40,<2",  # opens the reports in an installed Chromium
        "ruff>=0.17,<0.18",  # one minor version: the next one may format differently
        "transformers>=4.50,<6",  # the reference that models are compared with
        "h5py>=3.10,<4",  # HDF5: MATLAB files (COCO-Stuff 10k), medical volumes
        "faster-coco-eval>=1.6,<2",  # a compiled COCO AP, compared with pycocotools
    ],
}


class BuildWithConfigs(build_py):
    """Packs what lies at the top of the tree; an editable installation finds it there."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "d2seg"
        configs = package / "model_zoo" / "configs"
        shutil.rmtree(configs, ignore_errors=True)  # of an earlier build
        shutil.copytree(REPO / "configs", configs)
        for script in ("train_net.py", "demo.py"):
            shutil.copy(REPO / script, package / script)


setup(
    name="d2seg",
    version=VERSION,
    description="Segmentation methods of the transformer era as detectron2 meta-architectures",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    package_dir={"": "projects"},
    packages=find_packages("projects"),
    py_modules=["d2seg_process", "d2seg_command"],
    package_data={
        "": ["*.csv", "*.json", "*.md", "*.txt", "*.yaml", "py.typed", "templates/*", "page/*"]
    },
    cmdclass={"build_py": BuildWithConfigs},
    entry_points={"console_scripts": ["d2seg = d2seg_command:main"]},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
)
