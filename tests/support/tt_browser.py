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
