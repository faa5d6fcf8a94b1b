"""`python -m howfar`."""

from __future__ import annotations

from howfar.cli import main

if __name__ == "__main__":
    main()
