"""The directory: every child learns where its peers are, and with which incarnation."""

from __future__ import annotations

from actors.actor import TradingActor
from actors.messages.delivery import Undelivered
from actors.messages.health import ChildState, Directory, Peer, SubtreePeers, TreeReport
from supervision.children import Child
from supervision.restart import SupervisorSpec

PUBLISH_S = 0.005
RETELL_S = 0.2
REPORT_TO = ("watchdog", "admin", "metrics")


class DirectoryKeeper(TradingActor):
    """Collects who lives below, sends it up, and passes on what comes down; the root numbers the versions."""

    spec: SupervisorSpec
    children: dict[str, Child]
    _winding_up: bool

    def _set_up_directory(self) -> None:
        self._version = 0
        self._above: tuple[Peer, ...] = self._started_by.peers if self._started_by else ()
        self._directory_from_above: Directory | None = None

    def on_subtree_peers(self, message: SubtreePeers, sender: object) -> None:
        child = self.children.get(message.supervisor)
        if child is not None and child.alive and child.incarnation == message.incarnation:
            child.subtree = message.peers
            child.told = None  # who speaks is answered, with a version that its own children take as new
            child.last_beat_boot_ns = self.clock.boot_ns()  # it is busy starting its children, and alive
            self._publish_soon()

    def _on_directory(self, message: Directory) -> None:
        super()._on_directory(message)
        self._above = message.peers
        self._directory_from_above = message
        self._pass_on()

    def _publish_soon(self) -> None:
        """Several changes at once make one directory; none is needed while everything stops."""
        if "publish" not in self._timers and not self._winding_up:
            self.after("publish", PUBLISH_S, self._publish)

    def _publish(self) -> None:
        peers = self._own_subtree()
        if self.name != "root":
            self.send(self.parent, SubtreePeers(self.name, self.incarnation, peers))
            return
        self._version += 1
        self._above = peers
        self.peers = {peer.name: peer for peer in peers}
        self._directory_from_above = Directory(self._version, peers)
        self._pass_on()

    def _pass_on(self) -> None:
        """Tell each child what is new for it: with many children most changes concern few of them."""
        if self._directory_from_above is None or self._winding_up:
            return
        version = self._directory_from_above.version
        known = self._known_peers()
        for child in self.children.values():
            if not child.alive:
                continue
            peers = self._peers_for(child, known)
            if peers != child.told:
                child.told = peers
                self.send(child.address, Directory(version, peers))

    def on_undelivered(self, message: Undelivered, sender: object) -> None:
        """A child that dies misses its directory: the next one is told by ``Initialize``. A living one is told again,
        when it may listen again."""
        if isinstance(message.message, Directory):
            for child in self.children.values():
                if child.alive and child.address == message.target:
                    child.told = None
                    if "retell" not in self._timers:
                        self.after("retell", RETELL_S, self._retell)
        elif not isinstance(message.message, SubtreePeers):
            super().on_undelivered(message, sender)

    def _retell(self) -> None:
        """Ask for a new version, which only the root makes: the same one again would be ignored."""
        if self._directory_from_above is not None:
            self._publish()

    def _own_subtree(self) -> tuple[Peer, ...]:
        found: list[Peer] = []
        for child in self.children.values():
            if child.alive and (child.state is ChildState.RUNNING or child.spec.kind == "supervisor"):
                if child.state is ChildState.RUNNING:
                    found.append(child.peer)
                found.extend(child.subtree)
        return tuple(found)

    def _known_peers(self) -> tuple[Peer, ...]:
        # Siblings that just started are known here before the root's directory comes back down.
        above = (peer for peer in self._above if peer.name not in self.children)
        return tuple({peer.name: peer for peer in (*above, *self._own_subtree())}.values())

    def _peers_for(self, child: Child, known: tuple[Peer, ...]) -> tuple[Peer, ...]:
        needs = child.spec.needs
        if child.spec.kind == "supervisor" or "*" in needs:
            return known
        exact = {need for need in needs if not need.endswith("*")}
        prefixes = tuple(need[:-1] for need in needs if need.endswith("*"))
        return tuple(peer for peer in known if peer.name in exact or (prefixes and peer.name.startswith(prefixes)))

    def _report(self) -> None:
        report = TreeReport(self.name, self.incarnation, tuple(child.status() for child in self.children.values()))
        for name in REPORT_TO:
            if name in self.peers:
                self.tell(name, report)
