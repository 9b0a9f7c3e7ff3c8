"""Exit codes of ``run.py start``: distinct, so that a host can tell what ended the daemon."""

from __future__ import annotations

OK = 0
REFUSED = 2
"""Configuration, arguments or environment: nothing was started."""
LOCKED = 3
"""Another daemon holds this data folder."""
GAVE_UP = 75
"""A vital part kept failing."""
ROOT_HUNG = 76
"""The tree stopped showing life and was killed."""
TREE_DIED = 77
"""The root or the admin process was killed or crashed."""
SIMULATOR_DIED = 78
NOT_READY = 79
"""The tree did not come up in time."""
STOP_UNPROVEN = 80
"""Stopped on request, but cancelling the own entries was not proven (they end by themselves within 60 s)."""
