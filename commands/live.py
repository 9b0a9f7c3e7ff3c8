"""``status --live``: is the tree alive, whatever its trading state? Judged by the age of one file."""

from __future__ import annotations

import time
from pathlib import Path

HEALTH_MAX_AGE_S = 5.0
"""The outer ring touches the file for each beat of the root (4 a second) that says that all permanent actors beat."""


def is_alive(health_file: Path) -> bool:
    """True while the health file is younger than HEALTH_MAX_AGE_S."""
    try:
        age_s = time.time() - health_file.stat().st_mtime
    except OSError:
        return False
    return -HEALTH_MAX_AGE_S <= age_s <= HEALTH_MAX_AGE_S
