"""Starting children in order and bringing back what died: carries out restart.py and operations.py."""

from __future__ import annotations

from thespian.actors import ChildActorExited

from actors.messages.health import Alert, ChildState, Severity, Started, StartFailed, StartIgnored
from supervision.administration import ChildAnswer, Refusal
from supervision.children import Child
from supervision.operations import Operation
from supervision.reports import Context
from supervision.restart import FailStart, Forget, GaveUp, GiveUp, RestartGroup
from supervision.stopping import ESCALATED_EXIT, GAVE_UP_EXIT, START_FAILED_EXIT, Stopper


class Restarter(Stopper):
    """Every change of a child ends in ``_go_on``, which does the next step of all that is under way."""

    _generations: dict[str, int]

    # --- starting --------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._winding_up:
            self._stop_the_rest()
            return
        for operation in self.operations.current():
            if self.operations.is_current(operation):
                self._step(operation)

    def _step(self, operation: Operation) -> None:
        """Stop one after another; then wait; then start, each on the ``Started`` of the one before."""
        if self._still_stopping(operation):
            return
        for name in operation.drop:
            self._drop(name)
        operation.drop = ()
        if operation.delay_s > 0:
            delay_s, operation.delay_s, operation.waiting = operation.delay_s, 0.0, True
            self.after(f"restart-{operation.key}", delay_s, lambda: self._delay_over(operation))
        if operation.waiting:
            return
        while operation.start:
            child = self.children.get(operation.start[0])
            if child is None or child.state is ChildState.RUNNING:
                operation.start.pop(0)
                continue
            if not child.alive:
                self._start(child)
            return
        self.operations.done(operation)
        if operation.first:
            self.ready()
            self._report()

    def _still_stopping(self, operation: Operation) -> bool:
        while operation.stop:
            child = self.children.get(operation.stop[0])
            if child is not None and child.alive:
                if child.state is not ChildState.STOPPING:
                    self._stop(child)
                return True
            operation.stop.pop(0)
        return False

    def _delay_over(self, operation: Operation) -> None:
        operation.waiting = False
        if self.operations.is_current(operation):
            self._go_on()

    def on_started(self, message: Started, sender: object) -> None:
        child = self.children.get(message.name)
        if child is None or child.incarnation != message.incarnation or child.state is not ChildState.STARTING:
            return
        child.run(message.pid, self.clock.boot_ns())
        self.log.info("started", child=message.name, pid=message.pid, incarnation=message.incarnation)
        self.operations.withdraw(message.name)
        self._answer_start(child)
        self._publish_soon()
        self._go_on()

    def on_start_failed(self, message: StartFailed, sender: object) -> None:
        """Why; what follows is decided at its exit."""
        child = self._starting(message.name, message.incarnation)
        if child is not None:
            child.start_error = message.reason

    def on_start_ignored(self, message: StartIgnored, sender: object) -> None:
        child = self._starting(message.name, message.incarnation)
        if child is not None:
            child.ignored = True
            self.log.info("start_ignored", child=message.name, why=message.reason)

    def _starting(self, name: str, incarnation: int) -> Child | None:
        child = self.children.get(name)
        return child if child is not None and child.alive and child.incarnation == incarnation else None

    # --- dying -----------------------------------------------------------------------------------------

    def on_child_actor_exited(self, message: ChildActorExited) -> None:
        for child in self.children.values():
            if child.alive and child.address == message.childAddress:
                self._exited(child)
                return

    def _exited(self, child: Child) -> None:
        status = self._child_status(child.address)
        was = child.state
        child.end(status)
        self.cancel_timer(f"stop-{child.spec.name}")
        if was is ChildState.STOPPING or self._winding_up or self.operations.is_about_to_stop(child.spec.name):
            self._stopped(child, status)
        elif was is ChildState.STARTING and child.ignored:
            self._ignored(child)
        elif was is ChildState.STARTING and child.added_by is not None:
            self._note(child, Context.START_ERROR, child.last_exit)
            self._file_crash(child, status)
            self._answer_start(child, Refusal.START_FAILED)
        else:
            self._died(child, was, status)
        self._publish_soon()
        self._report()
        self._go_on()

    def _stopped(self, child: Child, status: int | None) -> None:
        """It was told to stop, or was about to be: its end is never counted as a failure."""
        if status != 0 and child.spec.stop_within_s > 0:
            self._note(child, Context.SHUTDOWN_ERROR, child.last_exit)
        if not self._winding_up or self._exit_code:
            self._tell_lost(child, f"stopped by {self.name}", gave_up=False)
        if child.restarting and not self._winding_up:
            child.state = ChildState.RESTARTING
        self._answer_start(child, Refusal.START_FAILED)
        self._answer_stopped(child)
        self._keep_spec(child)

    def _ignored(self, child: Child) -> None:
        """Nothing to do for it: no process, no restart; the spec stays, unless it is temporary."""
        child.restarting = False
        self.operations.withdraw(child.spec.name)
        self._answer_start(child)
        self._keep_spec(child)

    def _died(self, child: Child, was: ChildState, status: int | None) -> None:
        name = child.spec.name
        failed_start = was is ChildState.STARTING
        self._file_crash(child, status)
        self.log.error("child_died", child=name, pid=child.pid, why=child.last_exit)
        self._note(child, Context.START_ERROR if failed_start else Context.CHILD_TERMINATED, child.last_exit)
        if child.spec.kind == "supervisor" and status == GAVE_UP_EXIT:
            self._tell_lost(child, child.last_exit, gave_up=True)
            self._end_with(child, GAVE_UP_EXIT, f"{name} gave up a vital part")
            return
        now = self.clock.boot_ns()
        if failed_start:
            first = not self._ready and not child.restarting
            decision = self.policy.start_failed(name, now, self._alive(), first_start=first)
        else:
            decision = self.policy.exited(name, status == 0, now, self._alive())
        self._tell_lost(child, child.last_exit, gave_up=isinstance(decision, GaveUp))
        if isinstance(decision, Forget):
            self._forget(child, decision)
        elif isinstance(decision, GaveUp):
            self._give_up(child, decision)
        elif isinstance(decision, FailStart):
            self._fail_start(child)
        else:
            self._restart(child, decision)

    # --- deciding --------------------------------------------------------------------------------------

    def _forget(self, child: Child, decision: Forget) -> None:
        self.operations.withdraw(child.spec.name)
        if decision.drop_spec or self.spec.is_dynamic:
            self._drop(child.spec.name)

    def _restart(self, child: Child, group: RestartGroup) -> None:
        for name in group.start:
            other = self.children[name]
            other.restarts += 1
            other.restarting = True
            other.state = other.state if other.alive else ChildState.RESTARTING
        operation = self.operations.restart(child.spec.name, group, list(self.children), self._alive())
        self.cancel_timer(f"restart-{operation.key}")

    def _give_up(self, child: Child, decision: GaveUp) -> None:
        name = child.spec.name
        period_s = self.spec.intensity.period_s
        text = f"{name} failed {decision.failures} times within {period_s:g} s: {child.last_exit}"
        self.log.critical("gave_up", child=name, policy=decision.policy, why=child.last_exit)
        self.tell("alerts", Alert(Severity.PAGE, f"gave_up:{name}", text, self.name))
        child.restarting = False
        if decision.policy is not GiveUp.LEAVE_DOWN:
            code = GAVE_UP_EXIT if decision.policy is GiveUp.END_DAEMON else ESCALATED_EXIT
            self._end_with(child, code, f"reached_max_restart_intensity: {text}")
            return
        child.state = ChildState.GIVEN_UP
        self.operations.withdraw(name)
        self.after(f"retry-{name}", self.spec.intensity.retry_s, lambda: self._try_again(name))

    def _try_again(self, name: str) -> None:
        child = self.children.get(name)
        if child is not None and child.state is ChildState.GIVEN_UP:
            child.restarting = True
            self.operations.again(name)
            self._go_on()

    def _fail_start(self, child: Child) -> None:
        reason = f"failed_to_start_child {child.spec.name}: {child.last_exit}"
        if self.name != "root":
            self.send(self.parent, StartFailed(self.name, self.incarnation, reason))
        self._end_with(child, START_FAILED_EXIT, reason)

    def _end_with(self, child: Child, code: int, reason: str) -> None:
        self._note(child, Context.SHUTDOWN, reason)
        child.state = ChildState.GIVEN_UP
        self._wind_up(code)

    def _keep_spec(self, child: Child) -> None:
        """A stopped child stays known, unless it is temporary or dynamic: those are only as long as they live."""
        if child.is_temporary or (self.spec.is_dynamic and not child.restarting):
            self._drop(child.spec.name)

    def _drop(self, name: str) -> None:
        """Forget the spec; a later child of that name starts above the incarnations this one had."""
        child = self.children.pop(name, None)
        self.policy.remove(name)
        self.operations.withdraw(name)
        self.cancel_timer(f"retry-{name}")
        if child is not None and not self.spec.is_dynamic:
            self._generations[name] = child.generation

    # --- answers to whoever asked for it ---------------------------------------------------------------

    def _answer_start(self, child: Child, refusal: Refusal | None = None) -> None:
        """Tell who asked for this start how it went; a new child that failed is forgotten. Nothing if nobody asked."""
        asker, child.added_by = child.added_by, None
        if asker is None:
            return
        name, pid = child.spec.name, child.pid if child.alive else 0
        reason = "" if refusal is None else child.last_exit
        self.send(
            asker.address,
            ChildAnswer(request_id=asker.request_id, refusal=refusal, name=name, pid=pid, reason=reason),
        )
        if refusal is not None and child.is_new:
            self._drop(name)
        child.is_new = False

    def _answer_stopped(self, child: Child) -> None:
        for asker in child.stopped_by:
            self.send(asker.address, ChildAnswer(request_id=asker.request_id, name=child.spec.name))
        child.stopped_by.clear()
