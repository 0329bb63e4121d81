"""`make demo` is a promise: it runs by itself, and ends with 0 only if every step proved what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import segno

from tallystick.demo.stage import DemoFailed, Stage
from tallystick.demo.story import HALF_BLOCKS, code_lines

pytestmark = pytest.mark.server


def test_the_demo_proves_what_it_says(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tallystick", "demo", "--folder", str(tmp_path / "demo"), "--port", "0"],
        env={**os.environ, "DEMO_SERVE": "0", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything proved what it should" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "panicked" not in done.stderr
    lines = done.stdout.replace(str(tmp_path), "").splitlines()
    assert max(map(len, lines)) <= 80
    assert not any(line != line.rstrip() for line in lines)
    assert (tmp_path / "demo" / "evidence.json").is_file()


def test_the_demo_never_empties_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DemoFailed, match="not empty"), Stage(tmp_path, 0):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_command_that_ends_otherwise_than_it_should_fails_the_demo(tmp_path: Path) -> None:
    with Stage(tmp_path / "demo", 0) as stage, pytest.raises(DemoFailed, match="ended with"):
        stage.run("verify", "--trust", "nowhere", "nothing.json")


def test_the_code_on_the_terminal_is_the_code_of_the_page() -> None:
    link = "http://127.0.0.1:8080/01/09521141123454/21/379443915985"
    halves = {block: modules for modules, block in HALF_BLOCKS.items()}
    drawn = [[halves[char][half] for char in line] for line in code_lines(link) for half in (0, 1)]
    wanted = [list(row) for row in segno.make(link, micro=False, error="m").matrix_iter(border=4)]
    assert drawn[: len(wanted)] == wanted
    assert not any(map(any, drawn[len(wanted) :]))
