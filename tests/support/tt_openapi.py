"""The app's routes in the words of OpenAPI, and requests made from a description."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote


def paths_of(rule: str) -> list[str]:
    """The paths that one of Flask's rules stands for: one for each value of an any(…)."""
    choices = re.search(r"<any\((.*?)\):[a-z_]+>", rule)
    if choices:
        values = [value.strip().strip('"') for value in choices.group(1).split(",")]
        return [path for value in values for path in paths_of(rule.replace(choices.group(0), value))]
    return [re.sub(r"<(?:[a-z]+(?:\(.*?\))?:)?([A-Za-z_]+)>", r"{\1}", rule)]


def filled(path: str, operation: dict[str, Any]) -> str:
    """The path with its examples in it."""
    for one in operation.get("parameters", ()):
        if one.get("in") == "path":
            path = path.replace(f"{{{one['name']}}}", quote(str(one["example"]), safe=""))
    return path
