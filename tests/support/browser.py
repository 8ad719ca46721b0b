"""Headless Chromium of the system, for tests of pages."""

import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((found for name in NAMES if (found := shutil.which(name))), None)

needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here: sudo apt-get install chromium")


def opened(page, folder, *flags):
    """Open a page; its document after scripts have run, and the lines of the browser's console.

    Args:
        page: File of the page.
        folder: Folder for the browser's profile.
        flags: Further flags.
    """
    assert PROGRAM is not None
    command = [
        PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
