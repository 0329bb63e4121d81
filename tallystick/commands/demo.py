"""`tallystick demo`: the main job, end to end, on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tallystick.demo.story import tell


@click.command("demo")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("build/demo"),
    show_default=True,
    help="Where everything of the demo is kept. It is emptied first.",
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="0 takes a free one."
)
def demo(folder: Path, port: int) -> None:
    """Watch a pack's journey happen, be proven, and be tampered with.

    With DEMO_SERVE=0 in the environment it ends by itself, with 0 only if every step proved what it should.
    """
    raise SystemExit(tell(folder, port, stay=os.environ.get("DEMO_SERVE", "1") != "0"))


COMMANDS: list[click.Command] = [demo]
