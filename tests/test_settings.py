"""What the settings refuse, with the keys to change in the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import ConfigError
from tests.actors.harness import test_settings as settings


def test_a_lost_order_must_be_provable_before_it_latches(tmp_path: Path) -> None:
    assert settings(tmp_path).orders.unknown_latch_s == 300
    with pytest.raises(ConfigError, match=r"orders\.unknown_latch_s \(142\).*venue\.jwt_life_s \(120\)"):
        settings(tmp_path, orders={"unknown_latch_s": 142})
    settings(tmp_path, orders={"unknown_latch_s": 143})
    with pytest.raises(ConfigError, match=r"venue\.visibility_delay_s \(60\)"):
        settings(tmp_path, venue={"jwt_life_s": 280, "visibility_delay_s": 60})
