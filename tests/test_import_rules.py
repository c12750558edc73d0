"""Who may import whom, and where a configuration is read (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

PACKAGE_DIR = Path(__file__).resolve().parents[1] / "projects/d2seg"
GROUND = (
    *("names", "text", "pictures", "registries", "layers", "backbones", "data", "checkpoint"),
    *("visualization", "acceleration", "runtimes", "version", "reports"),
)
FAMILIES = ("mask_classification", "per_pixel")
ABOVE = (
    *(("views",), ("config",), ("evaluation", "export", "prediction", "model_zoo"), ("engine",)),
    ("cli",),
)
# every folder that is not named here is a method
METHODS = tuple(
    {path.parent.name for path in PACKAGE_DIR.glob("*/__init__.py")}
    - {*GROUND, *FAMILIES, *(area for floor in ABOVE for area in floor)}
)
# From the ground up. A folder or module imports what stands on the floors below its own.
FLOORS = (GROUND, FAMILIES, METHODS, *ABOVE)
# Who imports what on its own floor.
NEIGHBOURS = {
    "backbones": {"layers"},
    "data": {"checkpoint", "names", "pictures", "registries", "reports", "text"},
    "visualization": {"names", "pictures"},
    "runtimes": {"names"},
}
# Models and what surrounds them do not import each other; config imports a model's config.py.
MODELS = {"layers", "backbones", "mask_classification", "per_pixel", *METHODS}
SHARED = {"text"}  # both know words
MAX_FLOORS = 6  # of the folders, modules and scripts as they import each other
SCRIPTS = {"train_net", "demo", "tools", "tests", "conftest", "d2seg_process", "d2seg_command"}
PROGRAMS = {"train_net", "demo", "tools", "cli", "__main__"}  # one floor: ways to call the command
PACKAGE = PurePosixPath("projects/d2seg")
POINT_REND_BENCHMARK = PurePosixPath("tools/benchmarking/point_rend.py")  # times against it


def imported_modules(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, bool, int]]:
    """What a module of `package` imports: absolute dotted name, whether relatively, line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module or "").split(".")) if node.module else base
            # a name counts as part of the path: "from .. import data" imports the module d2seg.data
            names = (".".join([*module, alias.name]) for alias in node.names)
            yield from ((name, node.level > 0, node.lineno) for name in names)


def area_of(module: str) -> str:
    """The folder or top module that "d2seg.<area>..." belongs to; empty: d2seg itself."""
    area = module.split(".")[1] if "." in module else ""
    return area if any(area in floor for floor in FLOORS) else ""


def floor_of(area: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if area in floor)


def import_fault(path: PurePosixPath, module: str, is_relative: bool) -> str:
    """Why the file at `path` may not import `module`; empty if it may."""
    if f"{module}.".startswith("detectron2.projects.point_rend."):
        is_reference = path == POINT_REND_BENCHMARK
        return "" if is_reference else "point_rend is the reference of tests and benchmark"
    if not path.is_relative_to(PACKAGE) or path == PACKAGE / "__main__.py":
        return ""
    if module.split(".")[0] in SCRIPTS:
        return "the package imports no script"
    if module.split(".")[0] != "d2seg":
        return ""
    if not is_relative:
        return "inside the package imports are relative"
    own, other = path.relative_to(PACKAGE).with_suffix("").parts[0], area_of(module)
    if own == "__init__" or own == other:
        return ""
    if not other:
        return "nothing below the top imports d2seg itself"
    if own == "config" and other in MODELS:
        return "" if f"{module}.".startswith(f"d2seg.{other}.config.") else "models build on config"
    if own in MODELS and other not in MODELS | SHARED:
        return f"a model never imports {other}"
    if own not in MODELS and other in MODELS:
        is_wrapper = own == "views" and other in ("layers", *FAMILIES)
        return "" if is_wrapper else f"{own} stands beside the models"
    if own in METHODS and other in METHODS:
        return "a method never imports another method"
    is_below = floor_of(other) < floor_of(own) or other in NEIGHBOURS.get(own, ())
    return "" if is_below or other in SHARED else f"{other} is not below {own}"


def names_cfg(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id == "cfg") or (
        isinstance(node, ast.Attribute) and node.attr == "cfg"
    )


def cfg_faults(path: PurePosixPath, tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Where a configuration is read beside config.py, from_config, builders and scripts."""
    if not path.is_relative_to(PACKAGE):
        return
    own = path.relative_to(PACKAGE).parts[0]
    is_model = own in MODELS
    for node in ast.walk(tree):
        is_call = isinstance(node, ast.FunctionDef) and node.name in {"forward", "__call__"}
        if is_call and any(map(names_cfg, ast.walk(node))):
            yield f"{node.name} reads cfg", node.lineno
        is_stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if is_model and is_stored and node.attr == "cfg":
            yield "a model keeps no cfg", node.lineno
        if is_model and isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name != "from_config":
                    arguments = [n.arg for n in ast.walk(method.args) if isinstance(n, ast.arg)]
                    if "cfg" in arguments:
                        yield f"{method.name} takes a cfg", method.lineno


def faults(path: str, source: str) -> list[str]:
    where, tree = PurePosixPath(path), ast.parse(source)
    package = where.relative_to("projects").parent.parts if where.is_relative_to(PACKAGE) else ()
    found = [*cfg_faults(where, tree)]
    for module, is_relative, line in imported_modules(tree, package):
        found.append((import_fault(where, module, is_relative), line))
    return [f"{path}:{line}: {fault}" for fault, line in found if fault]


def test_the_tree_keeps_the_rules(repo_dir: Path) -> None:
    sources = [*repo_dir.glob("*.py"), *repo_dir.glob("tools/**/*.py")]
    sources += (repo_dir / PACKAGE).rglob("*.py")
    assert len(sources) > 20
    found = []
    for path in sources:
        found += faults(path.relative_to(repo_dir).as_posix(), path.read_text())
    assert not found, "\n".join(found)


def imports_of_the_tree(repo_dir: Path) -> dict[str, set[str]]:
    """Which folders, modules and scripts each of them imports; d2seg/__init__.py only hands on."""
    package_dir = repo_dir / PACKAGE
    areas = {path.stem for path in package_dir.iterdir() if path.suffix in ("", ".py")}
    graph: dict[str, set[str]] = {}
    scripts = (*repo_dir.glob("*.py"), *repo_dir.glob("tools/**/*.py"))
    for path in (*scripts, *package_dir.rglob("*.py")):
        where = PurePosixPath(path.relative_to(repo_dir).as_posix())
        is_inside = where.is_relative_to(PACKAGE)
        own = where.relative_to(PACKAGE).with_suffix("").parts[0] if is_inside else where.parts[0]
        if own == "__init__":
            continue
        own = "programs" if own.removesuffix(".py") in PROGRAMS else own
        package = where.relative_to("projects").parent.parts if is_inside else ()
        names = (
            name.split(".") for name, *_ in imported_modules(ast.parse(path.read_text()), package)
        )
        imported = {name[1] for name in names if name[0] == "d2seg" and len(name) > 1} & areas
        imported = {"programs" if area in PROGRAMS else area for area in imported}
        graph.setdefault(own, set()).update(imported - {own})
    return graph


def number_of_floors(graph: dict[str, set[str]]) -> int:
    """Areas on the longest way down; one that imports none stands on floor 1."""
    floors: dict[str, int] = {}

    def floor(area: str, above: tuple[str, ...] = ()) -> int:
        assert area not in above, f"a circle: {' -> '.join((*above, area))}"
        if area not in floors:
            below = (floor(other, (*above, area)) for other in graph.get(area, ()))
            floors[area] = 1 + max(below, default=0)
        return floors[area]

    return max(floor(area) for area in graph)


def test_the_floors_are_few(repo_dir: Path) -> None:
    assert number_of_floors(imports_of_the_tree(repo_dir)) <= MAX_FLOORS


def test_floors_are_counted_along_the_longest_way() -> None:
    graph = {"tools": {"engine", "data"}, "engine": {"data"}, "data": {"text"}, "layers": set()}
    assert number_of_floors(graph) == 4
    with pytest.raises(AssertionError, match="a circle: data -> engine -> data"):
        number_of_floors({"data": {"engine"}, "engine": {"data"}})


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("layers/a.py", "from ..backbones import swin", "backbones is not below layers"),
        ("backbones/a.py", "from ..mask_classification.matcher import M", "is not below backbones"),
        ("backbones/a.py", "from ..maskformer import model", "maskformer is not below"),
        ("mask_classification/a.py", "from ..per_pixel import head", "per_pixel is not below"),
        ("mask_classification/a.py", "from ..maskformer.model import A", "maskformer is not below"),
        ("mask2former/a.py", "from ..maskformer import model", "never imports another method"),
        ("mask2former/b/a.py", "from ...maskformer.model import A", "never imports another method"),
        ("mask2former/a.py", "def f():\n    from ..maskformer import A", "another method"),
        ("maskformer/a.py", "from ..data.mappers import M", "a model never imports data"),
        ("maskformer/a.py", "from .. import evaluation", "a model never imports evaluation"),
        ("maskformer/a.py", "from ..config.tasks import t", "a model never imports config"),
        ("views/a.py", "from ..maskformer import M", "views stands beside the models"),
        ("layers/a.py", "from ..engine import Trainer", "a model never imports engine"),
        ("backbones/a.py", "from ..checkpoint import C", "a model never imports checkpoint"),
        ("data/a.py", "from ..layers import MLP", "data stands beside the models"),
        ("evaluation/a.py", "from ..maskformer import M", "evaluation stands beside the models"),
        ("checkpoint/a.py", "from ..backbones import swin", "checkpoint stands beside the models"),
        ("engine/a.py", "from .. import maskformer", "engine stands beside the models"),
        ("evaluation/a.py", "from ..prediction import P", "prediction is not below evaluation"),
        ("evaluation/a.py", "from ..engine import T", "engine is not below evaluation"),
        ("data/a.py", "from ..config.loading import load_config", "config is not below data"),
        ("checkpoint/a.py", "from ..data import build", "data is not below checkpoint"),
        ("text.py", "from .layers import MLP", "text stands beside the models"),
        ("text.py", "from .data import build", "data is not below text"),
        ("prediction/a.py", "from ..maskformer import M", "prediction stands beside the models"),
        ("config/defaults.py", "from ..maskformer.model import M", "models build on config"),
        ("engine/a.py", "from .. import add_d2seg_config", "nothing below the top imports d2seg"),
        ("layers/a.py", "from .. import *", "nothing below the top imports d2seg itself"),
        ("engine/a.py", "import d2seg", "inside the package imports are relative"),
        ("engine/a.py", "from d2seg.data import build", "inside the package imports are relative"),
        ("engine/a.py", "import train_net", "the package imports no script"),
        ("data/a.py", "from tools.check_dataset import c", "the package imports no script"),
        ("data/a.py", "from detectron2.projects import point_rend", "point_rend is the reference"),
        ("a/b.py", "import detectron2.projects.point_rend as p", "point_rend is the reference"),
        ("a/b.py", "from detectron2.projects.point_rend import p", "point_rend is the reference"),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str, fault: str) -> None:
    found = faults(f"{PACKAGE}/{path}", source)
    assert any(fault in text for text in found), found


@pytest.mark.parametrize("path", ["train_net.py", "tools/a.py"])
def test_scripts_import_all_but_point_rend(path: str) -> None:
    assert faults(path, "import d2seg\nfrom d2seg.maskformer import model") == []
    [found] = faults(path, "from detectron2.projects import point_rend")
    assert found.startswith(f"{path}:1: point_rend is the reference")
    assert faults(str(POINT_REND_BENCHMARK), "from detectron2.projects import point_rend") == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("backbones/a.py", "from ..layers import MLP"),
        ("mask_classification/a.py", "from ..backbones.swin import S\nfrom .matcher import M"),
        (
            "maskformer/a.py",
            "from ..mask_classification import matcher\nfrom ..layers.mlp import M",
        ),
        ("engine/a.py", "from ..data import build\nfrom ..config.loading import load_config"),
        ("config/defaults.py", "from ..maskformer.config import add_maskformer_config"),
        ("data/referring/a.py", "from ...text import Vocabulary"),
        ("views/a.py", "from ..per_pixel.windows import predict"),
        ("maskformer/a.py", "from ..text import Vocabulary"),
        ("__init__.py", "from . import backbones, data, maskformer\nfrom .config import a"),
        ("data/a.py", "import data.x, demography\nfrom detectron2.projects import deeplab"),
    ],
)
def test_an_allowed_import_is_not(path: str, source: str) -> None:
    assert faults(f"{PACKAGE}/{path}", source) == []


IN_FORWARD = "class A:\n    def forward(self, images):\n        return {}\n"


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("maskformer/a.py", IN_FORWARD.format("cfg.MODEL.X"), "forward reads cfg"),
        ("maskformer/a.py", IN_FORWARD.format("self.cfg.MODEL.X"), "forward reads cfg"),
        ("maskformer/a.py", IN_FORWARD.format("[q for q in range(cfg.N)]"), "forward reads cfg"),
        ("data/a.py", IN_FORWARD.format("self.cfg.X").replace("forward", "__call__"), "reads cfg"),
        ("layers/a.py", "class A:\n  def set(self, cfg):\n    pass", "set takes a cfg"),
        (
            "layers/a.py",
            "class A:\n  def __init__(self, *, cfg):\n    pass",
            "__init__ takes a cfg",
        ),
        ("maskformer/a.py", "def f(self, x):\n    self.cfg = x", "a model keeps no cfg"),
    ],
)
def test_reading_cfg_in_the_wrong_place_is_found(path: str, source: str, fault: str) -> None:
    found = faults(f"{PACKAGE}/{path}", source)
    assert any(fault in text for text in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("maskformer/a.py", "class A:\n  def from_config(cls, cfg):\n    return {'x': cfg.X}"),
        ("maskformer/a.py", "def build_head(cfg):\n    cfg = cfg.clone()\n    return _size(cfg)"),
        ("engine/a.py", "class T:\n  def __init__(self, cfg):\n    self.cfg = cfg"),
        ("maskformer/a.py", IN_FORWARD.format("self.config_free(images)")),
    ],
)
def test_reading_cfg_in_its_place_is_not(path: str, source: str) -> None:
    assert faults(f"{PACKAGE}/{path}", source) == []
