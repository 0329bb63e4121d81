"""A real Chromium in front of a real server on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
)

# WCAG 2.2, 1.4.3 and 1.4.11: every text against what is painted behind it.
CONTRASTS = """() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    return numbers.length === 4 ? numbers : [...numbers, 1];
  };
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((v) => v / 255).map((v) =>
      v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color[3] === 1) return color;
      if (color[3] !== 0) return null;
    }
    return [255, 255, 255, 1];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest('svg, style')) continue;
    const front = parse(getComputedStyle(element).color);
    const back = behind(element);
    const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    found.push([walker.currentNode.textContent.trim().slice(0, 40), (light + 0.05) / (dark + 0.05)]);
  }
  return found;
}"""


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        pass


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The app's address while it is served."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _why_no_driver() -> str:
    """Why Playwright's own program does not run here; empty if it does."""
    node, _ = compute_driver_executable()
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"Playwright's driver does not run: {done.stderr.strip()}"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; where there is none, a skip, and in CI a failure."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    missing = "no Chromium is installed" if path is None else _why_no_driver()
    if missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI may skip nothing: {missing}")
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
