"""The page in a browser: it opens without a word on the console, and hostile names do not change its title."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from howfar import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
@pytest.mark.parametrize("sample", ["wine", "alike", "wide", "evil", "bare"])
def test_page_opens_in_chromium_without_console_messages(samples, sample, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(report.render(samples[sample]), encoding="utf-8")
    flags = "--headless --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    command = [
        *[CHROMIUM, *flags.split(), *(["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else [])],
        *["--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
    ]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    title = re.search(r"<title>(.*?)</title>", done.stdout).group(1)
    assert title.startswith(("Different: ", "No difference found: "))
    assert "<script" not in done.stdout
