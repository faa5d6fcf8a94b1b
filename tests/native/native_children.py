"""Fresh processes for what cannot be tested in this one."""

from __future__ import annotations

import os
import subprocess
import sys


def child(code: str, *, timeout: float = 120, **environment: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
