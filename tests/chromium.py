"""Chromium as the browser tests and the benchmarks start it."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def launched(playwright: Playwright) -> Browser:
    """Debian's Chromium where there is one, else Playwright's own."""
    installed = shutil.which("chromium") or shutil.which("chromium-browser")
    return playwright.chromium.launch(executable_path=installed, args=FLAGS)
