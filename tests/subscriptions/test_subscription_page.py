"""What docs/subscriptions.md tells receivers to do works on what is sent."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from subscriptions.schedule import parse_schedule
from subscriptions.targets import TargetRules
from subscriptions.webhook import sign

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "subscriptions.md").read_text(encoding="utf-8")
TOKEN = "9f2c9f2c"


def test_a_receiver_that_checks_as_the_page_says_knows_our_signature() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found: dict = {}
    exec(code, found)
    is_genuine = found["is_genuine"]
    header = sign(TOKEN, b"{}", 1000)
    assert is_genuine(header, b"{}", TOKEN, 1010)
    assert not is_genuine(header, b"{} ", TOKEN, 1010)
    assert not is_genuine(header, b"{}", TOKEN + "x", 1010)
    assert not is_genuine(header, b"{}", TOKEN, 1400)
    assert not is_genuine(header.replace("t=1000", "t=1001"), b"{}", TOKEN, 1010)


def test_its_schedules_and_settings_are_taken() -> None:
    for text in re.findall(r'`(\{"(?:hour|dayOfWeek)".*?\})`', PAGE):
        parse_schedule(json.loads(text))
    (settings,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    TargetRules.of(tomllib.loads(settings)["subscriptions"]["allow_private"])
