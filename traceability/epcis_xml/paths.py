"""Step 4 of 9: XPaths of elements, found in a time that does not grow with the number of their siblings.

lxml's own getpath() counts all elder siblings anew for each path: ten thousand faults in one long list
would take minutes, which a sender could ask for in a few hundred kilobytes.
"""

from __future__ import annotations

from typing import Any


class Paths:
    """Gives "/epcis:EPCISDocument/EPCISBody/EventList/ObjectEvent[2]" for an element of one document."""

    __slots__ = ("_known", "_steps")

    def __init__(self) -> None:
        self._known: dict[Any, str] = {}  # of parents: element -> path
        self._steps: dict[Any, dict[Any, str]] = {}  # parent -> child -> last step of its path

    def of(self, element: Any, attribute: str = "") -> str:
        """The path of an element, or of one of its attributes."""
        parent = element.getparent()
        if parent is None:
            path = "/" + _name(element)
        else:
            steps = self._steps.get(parent)
            if steps is None:
                steps = self._steps[parent] = _steps_below(parent)
            above = self._known.get(parent)
            if above is None:
                above = self._known[parent] = self.of(parent)
            path = f"{above}/{steps[element]}"
        return f"{path}/@{attribute}" if attribute else path


def _steps_below(parent: Any) -> dict[Any, str]:
    names: dict[str, list[Any]] = {}
    for child in parent:
        names.setdefault(_name(child), []).append(child)
    steps: dict[Any, str] = {}
    for name, children in names.items():
        if len(children) == 1 and name != "*":
            steps[children[0]] = name
        elif name != "*":
            for index, child in enumerate(children, 1):
                steps[child] = f"{name}[{index}]"
    if "*" in names:
        # An element of a default namespace has no name that an XPath could use; it counts among all.
        unnamed = set(names["*"])
        for index, child in enumerate(parent, 1):
            if child in unnamed:
                steps[child] = f"*[{index}]"
    return steps


def _name(element: Any) -> str:
    tag: str = element.tag
    if tag[0] != "{":
        return tag
    local = tag.rpartition("}")[2]
    return f"{element.prefix}:{local}" if element.prefix else "*"
