"""Reading YAML as data that has an end: no tag runs anything, no merge or alias multiplies it.

``<<`` copies what it merges, so that some lines of merges of merges would become more than any
memory holds; they are counted before they are carried out.
"""

import re
from typing import Any

import yaml

from .nesting import check_nesting
from .shown import brief

# libyaml's, where PyYAML has been built with it, takes a fifth of the time
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
# what PyYAML's constructors raise for values that are not of their tag
_ERRORS = (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, ArithmeticError)
_LONGEST_NUMBER = 1000  # characters; of one in base 60 the time grows with their square
_NEEDS_A_LOOK = re.compile(rf"<<|!|[0-9:._]{{{_LONGEST_NUMBER}}}")


def load_plain_yaml(text: str, max_values: int) -> Any:
    """The value of a YAML document.

    Raises:
        ValueError: it is no YAML, names code, or has with all aliases and merges written out more
            than ``max_values`` values.
    """
    try:
        check_merges(text, max_values)
        value = yaml.load(text, Loader=_SafeLoader)
        check_nesting(value, max_values)
    except RecursionError as error:
        raise ValueError("its values are nested too deep") from error
    except _ERRORS as error:
        raise ValueError(reason_of(error)) from error
    return value


def reason_of(error: BaseException) -> str:
    """A loader's error in one line."""
    reason = brief(error)
    is_depth = "exceeded maximum nesting depth" in reason  # libyaml's words
    return "its values are nested too deep" if is_depth else reason


def check_merges(text: str, max_values: int) -> None:
    """Count the entries of mappings, with what is merged into them, before a text is loaded.

    Raises:
        ValueError: there are more than ``max_values``, a mapping is merged into itself, or a number
            is too long.
        yaml.YAMLError, RecursionError: it is no YAML, or nested too deep.
    """
    root = yaml.compose(text, Loader=_SafeLoader) if _NEEDS_A_LOOK.search(text) else None
    if root is not None:
        _Merges(max_values).check(root)


def check_keys(text: str) -> None:
    """See that no key stands twice in a mapping, of which YAML's loaders keep the last.

    Raises:
        ValueError: one does.
        yaml.YAMLError, RecursionError: the text is no YAML, or nested too deep.
    """
    root = yaml.compose(text, Loader=_SafeLoader)
    seen, waiting = {id(root)}, [root]
    while waiting:
        node = waiting.pop()
        if node is None or isinstance(node, yaml.ScalarNode):
            continue
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                    continue
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise ValueError(
                        f"the key {brief(key.value)} stands twice, in the lines {lines[key.value]} "
                        f"and {line}; leave one out"
                    )
                lines[key.value] = line
            parts = [value for _, value in node.value]
        new = {id(part): part for part in parts if id(part) not in seen}
        seen |= new.keys()
        waiting += new.values()


class _Merges:
    def __init__(self, max_values: int) -> None:
        self._max_values = max_values
        self._sizes: dict[int, int] = {}  # of mappings, by the id of their nodes
        self._open: set[int] = set()
        self._total = 0

    def check(self, root: yaml.Node) -> None:
        seen, waiting = {id(root)}, [root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, yaml.ScalarNode):
                if len(node.value) > _LONGEST_NUMBER and node.tag.endswith((":int", ":float")):
                    raise ValueError(f"a number has {len(node.value)} characters")
                continue
            parts = node.value
            if isinstance(node, yaml.MappingNode):
                self._total += self._size(node)
                if self._total > self._max_values:
                    raise ValueError("its values hold each other so often that they have no end")
                parts = [part for pair in node.value for part in pair]
            new = {id(part): part for part in parts if id(part) not in seen}
            seen |= new.keys()
            waiting += new.values()

    def _size(self, node: yaml.Node) -> int:
        """The number of entries, with merged ones as often as they are merged."""
        if id(node) in self._sizes:
            return self._sizes[id(node)]
        if id(node) in self._open:
            raise ValueError("a mapping is merged into itself")
        self._open.add(id(node))
        size = 0
        for key, value in node.value:
            if key.tag != _MERGE:
                size += 1
            elif isinstance(value, yaml.SequenceNode):
                size += sum(self._size(v) for v in value.value if isinstance(v, yaml.MappingNode))
            elif isinstance(value, yaml.MappingNode):
                size += self._size(value)
        self._sizes[id(node)] = size
        return size
