"""YAML from a source that is not trusted: plain values only, within bounds that no config reaches."""

from __future__ import annotations

from typing import Any

import yaml

_DEEPEST = 50  # levels, one within another
_MOST = 100_000  # values, once what is referred to stands wherever it is referred to
_KINDS = ("null", "bool", "int", "float", "str", "seq", "map", "merge")
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in _KINDS}
_DATE = "tag:yaml.org,2002:timestamp"


class Excessive(yaml.YAMLError):
    """YAML that would unfold to more than any config."""


class _Loader(yaml.SafeLoader):
    """Reads dates as text, as Hydra does, and stops at once where values are nested too deep."""

    levels = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.levels == _DEEPEST:
            raise Excessive(f"it is nested more than {_DEEPEST} levels deep")
        self.levels += 1
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(text: str) -> Any:
    """The value that `text` writes.

    Raises:
        yaml.YAMLError: it is no YAML, more than plain values, or `Excessive`.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        known: dict[int, tuple[int, int]] = {}
        size, levels = _measure(node, known)
        if levels > _DEEPEST:
            raise Excessive(f"it is nested {levels} levels deep, of at most {_DEEPEST}")
        if size > max(_MOST, 2 * len(known)):
            raise Excessive(f"its references unfold to {size:.1g} values, of at most {_MOST:,}")
        return loader.construct_document(node)
    except ValueError as error:  # a date or a number that there is not
        raise yaml.YAMLError(str(error).partition("; use sys.")[0]) from error
    finally:
        loader.dispose()


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values a node unfolds to, and how many levels deep."""
    if (found := known.get(id(node))) is not None:
        if not found[0]:
            raise Excessive("a value refers to itself")
        return found
    if node.tag not in _PLAIN:
        raise yaml.YAMLError(f"it holds a {node.tag.rpartition(':')[2]}, which is no plain value")
    known[id(node)] = 0, 0
    within: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        within = node.value
    elif isinstance(node, yaml.MappingNode):
        within = [one for pair in node.value for one in pair]
    parts = [_measure(one, known) for one in within]
    levels = 1 + max((levels for _, levels in parts), default=0)
    known[id(node)] = 1 + sum(size for size, _ in parts), levels
    return known[id(node)]
