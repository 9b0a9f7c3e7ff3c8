"""What must hold: at every step (``broken``), and once the day has settled (``final``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervision.virtual_time import VirtualProcess

if TYPE_CHECKING:
    from tests.campaign.world import World


class Judge:
    """Compares the venue's truth with what the daemon believes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broken: list[str] = []

    def saw(self, sender: VirtualProcess | None, target: VirtualProcess, message: object) -> None:
        """One message arrives."""

    def crashed(self, label: str, status: int, actor: object) -> None:
        """A process ended by itself, with an exit code that says so."""
        self.broken.append(f"{label} left with exit code {status}")

    def final(self) -> list[str]:
        return []
