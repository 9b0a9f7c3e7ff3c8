"""``run.py config``: what would be used, or why it cannot be."""

from __future__ import annotations

import argparse
import os
import sys

import yaml

from actors.log import scrub_fields
from commands import exits
from commands.prepare import Refused, check_key_file, load
from config.settings import ConfigError


def configuration(options: argparse.Namespace) -> int:
    """Show or check; 0, or 2 with the reason on stderr."""
    try:
        settings = load(options, options.mode, os.environ)
        check_key_file(settings)
    except (ConfigError, Refused) as error:
        print(f"refused: {error}", file=sys.stderr)
        return exits.REFUSED
    if options.show:
        values = settings.model_dump(mode="json", exclude={"epoch"})
        yaml.safe_dump(scrub_fields(values), sys.stdout, sort_keys=False, allow_unicode=True)
    else:
        print(f"ok: config {settings.config_hash}, {len(settings.instruments)} instruments, mode {settings.mode}")
    return exits.OK
