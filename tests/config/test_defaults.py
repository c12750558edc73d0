"""Every key that d2seg adds is read, and leaves a stock config of detectron2 as it is."""

import ast
from pathlib import Path

from detectron2.config import CfgNode, get_cfg
from detectron2.projects.deeplab import add_deeplab_config

from d2seg.config import add_d2seg_config


def leaves(node: CfgNode, prefix: str = "") -> dict[str, object]:
    found = {}
    for name, value in node.items():
        if isinstance(value, CfgNode):
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def added_keys() -> set[str]:
    stock, ours = get_cfg(), get_cfg()
    add_deeplab_config(stock)
    add_d2seg_config(ours)
    return set(leaves(ours)) - set(leaves(stock))


def unread(keys: set[str], sources: list[str]) -> set[str]:
    """Keys whose last name is read as an attribute in none of the sources."""
    read = {
        node.attr
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    return {key for key in keys if key.rsplit(".", 1)[-1] not in read}


def test_every_key_is_read(repo_dir: Path) -> None:
    files = [
        path
        for path in (repo_dir / "projects" / "d2seg").rglob("*.py")
        if path.name not in ("config.py", "defaults.py")
    ]
    assert not unread(added_keys(), [path.read_text() for path in files])


def test_an_unread_key_would_be_found() -> None:
    source = "cfg.A.WRITTEN = 1\nvalue = cfg.A.READ"
    assert unread({"A.READ", "A.WRITTEN"}, [source]) == {"A.WRITTEN"}


def test_stock_values_are_untouched() -> None:
    stock, ours = get_cfg(), get_cfg()
    add_deeplab_config(stock)
    add_d2seg_config(ours)
    changed = {key for key, value in leaves(stock).items() if leaves(ours)[key] != value}
    assert not changed
