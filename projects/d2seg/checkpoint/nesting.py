"""How much a value is when whatever refers to one of its parts again has a copy of it.

A few lines of YAML or bytes of a pickle can name a list that holds a list twice, and so on: it is
small in memory, and endless for whoever walks it.
"""

from typing import Any


def check_nesting(value: Any, max_values: int, max_depth: int = 100) -> None:
    """Walk dicts, lists, tuples and sets once each, without recursion.

    Raises:
        ValueError: a container holds itself, is deeper than ``max_depth``, or has, with copies,
            more than ``max_values`` values.
    """
    sizes: dict[int, tuple[int, int]] = {}  # by the id of a container: its values, its depth
    open_ids: set[int] = set()
    stack = [] if _parts(value) is None else [value]
    while stack:
        container = stack[-1]
        if id(container) in sizes:
            stack.pop()
            continue
        parts = [part for part in _parts(container) if _parts(part) is not None]
        if id(container) not in open_ids:
            open_ids.add(id(container))
            if any(id(part) in open_ids and id(part) not in sizes for part in parts):
                raise ValueError("a value holds itself")
            stack += [part for part in parts if id(part) not in sizes]
            continue
        inner = [sizes[id(part)] for part in parts]
        count = len(_parts(container)) + sum(size for size, _ in inner)
        depth = 1 + max((depth for _, depth in inner), default=0)
        if depth > max_depth:
            raise ValueError(f"its values are nested more than {max_depth} deep")
        if count > max_values:
            raise ValueError("its values hold each other so often that they have no end")
        sizes[id(container)] = count, depth
        stack.pop()


def _parts(value: Any) -> Any:
    """What a container holds; ``None`` for any other value."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple | set) else None
