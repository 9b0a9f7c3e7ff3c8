"""The supervisor actor: carries out supervision/restart.py on real processes.

It starts its children in order, each on the ``Started`` of the one before, kills what hangs (only a parent holds
the unreaped pid), restarts what died, and publishes where everybody is. It has no threads and no state worth
keeping: when it dies, the kernel kills its children and its parent starts it anew, with the children of its
specification only.

By what it decides: directory.py (who is where), family.py (processes), judging.py (hangs), stopping.py,
restarting.py; here are its own start and the admin verbs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import count as counter

from actors.messages.health import ChildState
from supervision import administration as admin
from supervision.administration import ChildAnswer, Refusal
from supervision.children import Asker, Child
from supervision.family import REPORTS_KEPT
from supervision.operations import Operations
from supervision.restart import RestartPolicy
from supervision.restarting import Restarter
from supervision.specs import TEMPLATE_MARK, ChildSpec, SpecError, SupervisorSpec
from supervision.stopping import ESCALATED_EXIT, GAVE_UP_EXIT, START_FAILED_EXIT

__all__ = ["ESCALATED_EXIT", "GAVE_UP_EXIT", "START_FAILED_EXIT", "SupervisorActor"]

REPORT_S = 1.0


class SupervisorActor(Restarter):
    """Supervises the children of ``args["spec"]``; a subclass may make its specification itself."""

    handles_while_starting = True

    def specification(self) -> SupervisorSpec:
        """What to supervise (OTP's init). May raise IgnoreStart; any other exception is a failed start."""
        spec = self.args.get("spec")
        if not isinstance(spec, SupervisorSpec):
            raise SpecError(f"{self.name}: spec must be a SupervisorSpec, got {spec!r}")
        return spec

    def restore(self) -> bool:
        spec = self.specification()
        if not isinstance(spec, SupervisorSpec):
            raise SpecError(f"{self.name}: specification() must give a SupervisorSpec, got {spec!r}")
        self.spec = spec
        self.policy = RestartPolicy(spec, self._spread)
        self.operations = Operations(spec.strategy)
        self.reports = deque(maxlen=REPORTS_KEPT)
        self.children = {}
        self._generations = {}
        self._serials = counter(1)
        self._winding_up = False
        self._exit_code = 0
        for child in spec.started_children:
            self._adopt(child)
        self._set_up_directory()
        self._set_up_judging()
        self.every("report", REPORT_S, self._report)
        self.operations.begin([child.name for child in spec.started_children])
        self._go_on()
        return False

    # --- admin verbs -----------------------------------------------------------------------------------

    def on_start_child(self, request: admin.StartChild, sender: object) -> None:
        asker = self._admit(request, sender)
        if asker is None:
            return
        spec = self._new_spec(request)
        if spec is None:
            self._refuse(asker, Refusal.BAD_SPEC, "a spec, or with simple_one_for_one only arguments")
            return
        existing = self.children.get(spec.name)
        refusal = Refusal.SHUTTING_DOWN if self._winding_up else admin.refuse_start(existing)
        if refusal is not None:
            self._refuse(asker, refusal, name=spec.name, pid=existing.pid if existing and existing.alive else 0)
            return
        child = self._adopt(spec, self._generations.pop(spec.name, 0))
        child.is_new = True
        self.policy.add(spec)
        self._start_for(child, asker)

    def on_restart_child(self, request: admin.RestartChild, sender: object) -> None:
        asker = self._admit(request, sender)
        if asker is None:
            return
        child = self.children.get(request.name)
        if self._refused_change(asker, child) or child is None:
            return
        self.operations.withdraw(request.name)
        self._start_for(child, asker)

    def on_delete_child(self, request: admin.DeleteChild, sender: object) -> None:
        asker = self._admit(request, sender)
        if asker is None:
            return
        if not self._refused_change(asker, self.children.get(request.name)):
            self._drop(request.name)
            self._done(asker, request.name)

    def on_terminate_child(self, request: admin.TerminateChild, sender: object) -> None:
        asker = self._admit(request, sender)
        if asker is None:
            return
        if self.spec.is_dynamic and not request.pid:
            self._refuse(asker, Refusal.SIMPLE_ONE_FOR_ONE)
            return
        child = self._by_pid(request.pid) if self.spec.is_dynamic else self.children.get(request.name)
        if child is None:
            self._refuse(asker, Refusal.NOT_FOUND)
            return
        self._terminate(child, asker)

    def on_which_children(self, request: admin.WhichChildren, sender: object) -> None:
        asker = self._admit(request, sender)
        if asker is not None:
            children = tuple(replace(child.status(), beat=None) for child in self.children.values())
            self.send(asker.address, admin.ChildrenAnswer(request_id=asker.request_id, children=children))

    def on_count_children(self, request: admin.CountChildren, sender: object) -> None:
        asker = self._admit(request, sender)
        if asker is not None:
            specs = 1 if self.spec.is_dynamic else len(self.children)
            self.send(asker.address, admin.count(self.children, specs=specs, request_id=asker.request_id))

    def on_latest_reports(self, request: admin.LatestReports, sender: object) -> None:
        asker = self._admit(request, sender)
        if asker is not None:
            answer = admin.ReportsAnswer(request_id=asker.request_id, reports=tuple(self.reports))
            self.send(asker.address, answer)

    # --- their steps -----------------------------------------------------------------------------------

    def _admit(self, request: admin.AdminRequest, sender: object) -> Asker | None:
        """Who to answer, when this is for us and from above; else it is passed on or refused."""
        asker = Asker(sender if request.reply_to is None else request.reply_to, request.request_id)
        if sender != self.parent:
            self.log.error("admin_verb_refused", verb=type(request).__name__, sender=str(sender))
            self._refuse(Asker(sender, request.request_id), Refusal.FORBIDDEN)
            return None
        if request.supervisor == self.name:
            return asker
        below = self._branch_of(request.supervisor)
        if below is None:
            self._refuse(asker, Refusal.NOT_FOUND, f"no supervisor {request.supervisor} below {self.name}")
        else:
            self.send(below.address, replace(request, reply_to=asker.address))
        return None

    def _branch_of(self, supervisor: str) -> Child | None:
        for child in self.children.values():
            if child.spec.kind == "supervisor" and child.alive:
                names = {child.spec.name, *(peer.name for peer in child.subtree)}
                if supervisor in names:
                    return child
        return None

    def _new_spec(self, request: admin.StartChild) -> ChildSpec | None:
        if not self.spec.is_dynamic:
            return request.spec
        if request.spec is not None:
            return None
        template = self.spec.children[0]
        name = f"{template.name}{TEMPLATE_MARK}{next(self._serials)}"
        return replace(template, name=name, args={**template.args, **request.args})

    def _start_for(self, child: Child, asker: Asker) -> None:
        child.added_by = asker
        self._start(child)

    def _refused_change(self, asker: Asker, child: Child | None) -> bool:
        refusal = Refusal.SIMPLE_ONE_FOR_ONE if self.spec.is_dynamic else admin.refuse_change(child)
        if refusal is None and self._winding_up:
            refusal = Refusal.SHUTTING_DOWN
        if refusal is not None:
            self._refuse(asker, refusal)
        return refusal is not None

    def _by_pid(self, pid: int) -> Child | None:
        """A dynamic child is known by its pid; one that restarts by the pid it had."""
        known = (child for child in self.children.values() if child.pid == pid)
        return next((child for child in known if child.alive or child.restarting), None)

    def _terminate(self, child: Child, asker: Asker) -> None:
        """Stop a child on purpose: no restart follows; answered when it is gone, again and again."""
        name = child.spec.name
        self.operations.withdraw(name)
        self.cancel_timer(f"retry-{name}")
        child.restarting = False
        if child.alive:
            child.stopped_by.append(asker)
            if child.state is not ChildState.STOPPING:
                self._stop(child)
            return
        child.state = ChildState.STOPPED
        if self.spec.is_dynamic:
            self._drop(name)
        self._done(asker, name)
        self._go_on()

    def _done(self, asker: Asker, name: str) -> None:
        self.send(asker.address, ChildAnswer(request_id=asker.request_id, name=name))

    def _refuse(self, asker: Asker, refusal: Refusal, reason: str = "", *, name: str = "", pid: int = 0) -> None:
        answer = ChildAnswer(request_id=asker.request_id, refusal=refusal, name=name, pid=pid, reason=reason)
        self.send(asker.address, answer)
