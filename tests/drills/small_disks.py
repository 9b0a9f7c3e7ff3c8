"""Disks of a drill's own: small enough to fill, and one that turns read-only under whoever writes to it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest


def _run(*command: str) -> str:
    """Its output; skips the drill where this machine does not let us, and says what was refused."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        pytest.skip(f"needs {command[0]}")
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command)} is not permitted here: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


class SmallDisk:
    """A file system in memory of ``megabytes`` at ``folder``."""

    def __init__(self, folder: Path, megabytes: int = 64) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "small-disk", str(folder))

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        """To the last page: big pieces first, then small ones."""
        fd = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(fd, b"\0" * size)
        finally:
            os.close(fd)
        free = os.statvfs(self.folder).f_bavail
        assert free == 0, f"{free} blocks are free yet"

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def read_only(self) -> None:
        """Refused by the kernel while anybody has a file open for writing."""
        _run("mount", "-o", "remount,ro", str(self.folder))

    def close(self) -> None:
        subprocess.run(("umount", str(self.folder)), check=True, timeout=30)


class FailingDisk:
    """ext4 on a loop device, mounted as servers mount it: after an error it is read-only, for open files as well."""

    def __init__(self, folder: Path, image: Path, megabytes: int = 64) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        self.device = _run("losetup", "--find", "--show", str(image))
        try:
            self.mount()
            if not self._trigger.exists():
                pytest.skip(f"this kernel has no {self._trigger}: no disk can be made to fail")
        except BaseException:
            self.close()
            raise

    @property
    def _trigger(self) -> Path:
        return Path("/sys/fs/ext4") / Path(self.device).name / "trigger_fs_error"

    def mount(self) -> None:
        _run("mount", "-o", "errors=remount-ro", self.device, str(self.folder))

    def fail(self) -> None:
        """What the kernel does when a disk reports an error, under whoever has files open."""
        self._trigger.write_text("drill")
        try:
            (self.folder / "probe").touch()
        except OSError:
            return
        raise AssertionError("the file system takes writes yet")

    def repair(self) -> None:
        """As an operator would, once nobody uses it: unmount, check, mount."""
        subprocess.run(("umount", str(self.folder)), check=True, timeout=30)
        subprocess.run(("fsck.ext4", "-p", "-f", self.device), check=False, capture_output=True, timeout=30)
        self.mount()

    def close(self) -> None:
        if self.folder.is_mount():
            subprocess.run(("umount", str(self.folder)), check=True, timeout=30)
        subprocess.run(("losetup", "--detach", self.device), check=True, timeout=30)
