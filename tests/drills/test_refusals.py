"""What cannot be used is refused with a clear word, exit code 2, and nothing started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.drills.daemon import PROJECT, RUN, clean_environment, config_folder


def start(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, "start", "--data-dir", str(tmp_path / "data"), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_environment(**environment),
        cwd=PROJECT,
    )


def assert_refused(done: subprocess.CompletedProcess[str], tmp_path: Path, *says: str) -> None:
    assert done.returncode == 2, done.stderr
    for word in says:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "run").exists(), "no actor system was started"
    assert not list((tmp_path / "data").glob("*/simulator")) if (tmp_path / "data").exists() else True


def test_an_unknown_key_is_named_with_its_file(tmp_path: Path) -> None:
    folder = config_folder(tmp_path / "config", risk={"max_positons": 3})
    assert_refused(
        start(tmp_path, "--config-dir", str(folder)), tmp_path, "policy.yaml", "risk.max_positons", "unknown key"
    )


def test_an_unknown_section_is_named_with_its_file(tmp_path: Path) -> None:
    folder = config_folder(tmp_path / "config")
    (folder / "app.yaml").write_text("kill_switch_enabled: true\n")
    assert_refused(start(tmp_path, "--config-dir", str(folder)), tmp_path, "app.yaml", "kill_switch_enabled")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = config_folder(tmp_path / "config")
    (folder / "policy.yaml").unlink()
    assert_refused(start(tmp_path, "--config-dir", str(folder)), tmp_path, "policy.yaml", "missing")


def test_an_out_of_range_value_is_named_with_the_value(tmp_path: Path) -> None:
    folder = config_folder(tmp_path / "config", risk={"max_total_pct": "250"})
    done = start(tmp_path, "--config-dir", str(folder))
    assert_refused(done, tmp_path, "policy.yaml", "risk.max_total_pct", "250")


def test_money_without_quotes_is_refused_since_digits_may_be_lost(tmp_path: Path) -> None:
    folder = config_folder(tmp_path / "config", capital={"allotted": 1000.1})
    assert_refused(start(tmp_path, "--config-dir", str(folder)), tmp_path, "capital.allotted", "quotes")


@pytest.mark.parametrize(
    ("content", "says"),
    [("not json", "not JSON"), ('{"name": "n"}', "privateKey"), ('{"name": "n", "privateKey": "xx"}', "PEM")],
)
def test_a_bad_key_file_is_refused_without_showing_it(tmp_path: Path, content: str, says: str) -> None:
    key = tmp_path / "key.json"
    key.write_text(content)
    key.chmod(0o600)
    done = start(tmp_path, "--mode", "dry_run", COINBASE_KEY_FILE=str(key))
    assert_refused(done, tmp_path, "key.json", says)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text("{}")
    key.chmod(0o644)
    assert_refused(start(tmp_path, "--mode", "dry_run", COINBASE_KEY_FILE=str(key)), tmp_path, "chmod 600")


def test_demo_refuses_while_exchange_keys_are_set(tmp_path: Path) -> None:
    done = start(tmp_path, "--mode", "demo", COINBASE_API_KEY="k", COINBASE_API_SECRET="verysecret")
    assert_refused(done, tmp_path, "COINBASE_API_KEY")
    assert "verysecret" not in done.stderr
    assert_refused(start(tmp_path, COINBASE_API_SECRET="verysecret"), tmp_path, "COINBASE_API_SECRET")


def test_live_unarmed_and_paper_are_refused(tmp_path: Path) -> None:
    assert_refused(start(tmp_path, "--mode", "live"), tmp_path, "not armed")
    assert_refused(start(tmp_path, "--mode", "paper"), tmp_path, "not built yet")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--simulator-source", "replay:/nowhere.jsonl.gz"), "no such file"),
        (("--simulator-source", "synthetic:abc"), "whole number"),
        (("--simulator-source", "tape"), "expected synthetic"),
        (("--for", "-1"), "--for"),
        (("--mode", "dry_run", "--simulator-source", "synthetic"), "belongs to demo"),
        (("--simulator-url", "https://localhost:1"), "--simulator-ca"),
        (("--config-dir", "/nowhere"), "no such folder"),
        (("--symbols", "BTCUSD"), "BTCUSD"),
    ],
)
def test_a_bad_argument_is_refused_with_the_way_out(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    assert_refused(start(tmp_path, *arguments), tmp_path, says)


def test_a_data_folder_that_cannot_take_the_store_is_refused_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "demo").touch()
    assert_refused(start(tmp_path), tmp_path, str(tmp_path / "data" / "demo"))


def test_config_check_and_show_mask_secrets_and_name_the_hash(tmp_path: Path) -> None:
    check = subprocess.run([*RUN, "config", "--check"], capture_output=True, text=True, env=clean_environment())
    assert check.returncode == 0, check.stderr
    assert check.stdout.startswith("ok: config ")
    show = subprocess.run([*RUN, "config", "--show"], capture_output=True, text=True, env=clean_environment())
    assert "max_position_pct" in show.stdout
    folder = config_folder(tmp_path / "config", risk={"max_positons": 3})
    refused = subprocess.run(
        [*RUN, "config", "--check", "--config-dir", str(folder)],
        capture_output=True,
        text=True,
        env=clean_environment(),
    )
    assert refused.returncode == 2
    assert "risk.max_positons" in refused.stderr


def test_status_and_kill_without_a_daemon_say_so_and_the_kill_is_latched(tmp_path: Path) -> None:
    data = tmp_path / "data"
    status = subprocess.run([*RUN, "status", "--data-dir", str(data)], capture_output=True, text=True)
    assert status.returncode == 2
    assert "not running" in status.stderr
    live = subprocess.run([*RUN, "status", "--live", "--data-dir", str(data)], capture_output=True, text=True)
    assert live.returncode == 1
    kill = subprocess.run([*RUN, "kill", "--data-dir", str(data), "--reason", "drill"], capture_output=True, text=True)
    assert kill.returncode == 2
    assert "latched" in kill.stderr
    assert (data / "KILL").exists()
