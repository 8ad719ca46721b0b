"""A sweep at work: proposes, starts, watches and ends trials until there is nothing left to do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from vision_suite.errors import SuiteError
from vision_suite.runs.trial_log import NAME, last_epoch, read_values, values_of
from vision_suite.sweeps.events import (
    FAILED,
    FINISHED,
    PENDING,
    PREEMPTED,
    RUNNING,
    STOPPED,
    SweepTrial,
    TrialEvents,
)
from vision_suite.sweeps.hyperband import to_stop
from vision_suite.sweeps.keeper import LEAVE
from vision_suite.sweeps.launch import (
    TrialChild,
    TrialEnd,
    TrialSlot,
    exit_of,
    last_words,
    launch,
    prepare_folder,
    wait_until_gone,
    words_of,
)
from vision_suite.sweeps.propose import propose
from vision_suite.sweeps.settings import SweepFile

POLL_SECONDS = 0.2
PREEMPTING = (143, 130, -15, -2, -9)
MOST_STUCK = 3
EARLY_SECONDS, EARLY_FAILURES = 60.0, 3
Say = Callable[[str], None]


class SweepRunner:
    """The process that works on a sweep; the caller holds the lock of its folder.

    Args:
        sweep: The sweep.
        folder: Its folder.
        events: Its history.
        slots: Shares of the machine, one a trial.
        seed: Seed of the proposals.
        count: Largest number of trials, over all starts of the sweep; None for no limit but that of the file.
        retries: Times that a failed trial is repeated.
        say: Function that prints a line.
    """

    def __init__(
        self,
        sweep: SweepFile,
        folder: Path,
        events: TrialEvents,
        slots: Sequence[TrialSlot],
        *,
        seed: int,
        count: int | None,
        retries: int,
        say: Say,
    ) -> None:
        self.sweep, self.folder, self.events, self.say = sweep, folder, events, say
        self.seed, self.retries = seed, retries
        self.free = list(slots)
        limits = [limit for limit in (sweep.run_cap, count) if limit is not None]
        self.most = min(limits) if limits else math.inf
        self.running: dict[int, TrialChild] = {}
        self.began = time.monotonic()
        self.early_failures = 0

    def run(self) -> None:
        """Work until every trial has ended and no further one is due.

        Raises:
            SuiteError: Three trials failed within the first minute.
        """
        self.take_up()
        try:
            while self._fill() or self.running:
                time.sleep(POLL_SECONDS)
                self._look()
        except BaseException:
            self._leave()
            raise

    def take_up(self) -> None:
        """Settle the trials that were in flight when an earlier command ended."""
        for trial in self._in_state(RUNNING):
            wait_until_gone(self.folder / trial.folder)
            self.collect(trial)
            found = exit_of(self.folder / trial.folder, trial.attempts)
            # A signal that came with the end of the sweep is no end of the trial.
            if found is not None and (found.stopped or found.status not in PREEMPTING):
                self.end(trial, found)
        for number in self.due([trial.number for trial in self._in_state(RUNNING)]):
            epoch = self.events.trials[number].epoch
            self.events.add("end", trial=number, state=STOPPED, status=None, reason=self._why_stopped(), epoch=epoch)

    def _fill(self) -> bool:
        """Start trials in the free slots; True if one was started."""
        started = False
        while self.free and (trial := self.next_trial()) is not None:
            self._start(trial, self.free.pop(0))
            started = True
        return started

    def next_trial(self) -> SweepTrial | None:
        """The next trial: one that waits or was interrupted, else a new one."""
        for trial in self.events.trials.values():
            if trial.state in (PENDING, PREEMPTED) or (trial.state == RUNNING and trial.number not in self.busy):
                return trial
        if len(self.events.trials) >= self.most or self.reached():
            return None
        proposal = propose(self.sweep, self.events, self.seed)
        if proposal is None:
            return None
        number = len(self.events.trials) + 1
        self.events.add("propose", trial=number, args=proposal[0], unit=proposal[1])
        return self.events.trials[number]

    def begin(self, trial: SweepTrial, slot: int) -> list[str]:
        """Prepare the folder of a trial and record its start; the words of its command.

        Args:
            trial: The trial.
            slot: Number of its share of the machine.
        """
        folder = self.folder / trial.folder
        words = words_of(self.sweep, trial.args, folder)
        resumes = prepare_folder(folder, trial, words)
        # A run's folder means its last checkpoint; `last` would mean the newest run of all trials.
        words += [f"--ckpt_path={folder}"] if resumes else []
        attempt = trial.attempts + 1
        self.events.add("start", trial=trial.number, attempt=attempt, resumes=resumes, slot=slot, time=_now())
        told = ", ".join(f"{name}={value}" for name, value in trial.args.items())
        self.say(f"trial {trial.number} {'goes on' if resumes else 'starts'}: {told}")
        return words

    def _start(self, trial: SweepTrial, slot: TrialSlot) -> None:
        words = self.begin(trial, slot.index)
        folder = self.folder / trial.folder
        self.running[trial.number] = launch(folder, trial.number, trial.attempts, words, slot)

    def _look(self) -> None:
        """Read new values, end poor trials, and take note of those that have ended."""
        for number in list(self.running):
            child, trial = self.running[number], self.events.trials[number]
            end = child.ended()  # before the values, so that none is missed
            self.collect(trial)
            if end is not None:
                del self.running[number]
                self.free.append(child.slot)
                self.end(trial, end)
        for number in self.due(self.running):
            self.running[number].ask_to_end()

    def collect(self, trial: SweepTrial) -> None:
        """Take up the values that a trial has logged."""
        if self.sweep.metric is None:
            return
        for logged in values_of(read_values(self.folder / trial.folder / NAME), self.sweep.metric.name):
            if trial.values.get(logged.step, ...) != logged.value:
                self.events.add("value", trial=trial.number, step=logged.step, epoch=logged.epoch, value=logged.value)

    def end(self, trial: SweepTrial, end: TrialEnd) -> None:
        """Record the end of an attempt."""
        folder, status = self.folder / trial.folder, end.status
        state, reason = self._state(trial, end)
        epoch = last_epoch(read_values(folder / NAME))
        if state == PREEMPTED and epoch <= trial.epoch and trial.stuck + 1 >= MOST_STUCK:
            state, reason = FAILED, f"ended {MOST_STUCK} times with status {status} without a new epoch"
        again = state == FAILED and trial.failures < self.retries
        entries = {"state": state, "status": status, "reason": reason, "epoch": epoch, "again": again}
        self.events.add("end", trial=trial.number, **entries, time=_now())
        self.say(f"trial {trial.number} {state}{self._summary(trial) if state != FAILED else f': {reason}'}")
        if state == FAILED and time.monotonic() - self.began < EARLY_SECONDS:
            self.early_failures += 1
            if self.early_failures >= EARLY_FAILURES:
                raise SuiteError(
                    f"{EARLY_FAILURES} trials failed within the first minute, the last with: {reason} "
                    f"(its output is in {folder / 'output.log'})"
                )

    def _state(self, trial: SweepTrial, end: TrialEnd) -> tuple[str, str]:
        """State and reason of an end."""
        if end.stopped:
            return STOPPED, self._why_stopped()
        if end.status == 0:
            if self.sweep.metric is None or trial.history:
                return FINISHED, ""
            return FAILED, f"no {'finite ' if trial.values else ''}value of {self.sweep.metric.name} was logged"
        if end.status in PREEMPTING:
            return PREEMPTED, end.reason
        return FAILED, end.reason or last_words(self.folder / trial.folder) or f"status {end.status}"

    def _why_stopped(self) -> str:
        return "the target is reached" if self.reached() else "hyperband"

    def due(self, live: Collection[int]) -> list[int]:
        """Numbers of the running trials that have to stop: by hyperband, or since another one has reached the target.

        Args:
            live: Numbers of the running trials.
        """
        found = self._poor(live)
        if self.reached():
            found += [number for number in live if not self._reaches(self.events.trials[number])]
        return found

    def _poor(self, live: Collection[int]) -> list[int]:
        """Numbers of the trials that hyperband stops."""
        if self.sweep.early is None or self.sweep.metric is None:
            return []
        sign = self.sweep.metric.sign
        histories = {trial.number: [sign * value for value in trial.history] for trial in self.events.trials.values()}
        others = [history for number, history in histories.items() if number not in live and history]
        running = {number: histories[number] for number in live if histories[number]}
        return to_stop(self.sweep.early, running, others)

    def reached(self) -> bool:
        """Tell whether any trial has reached the target."""
        return any(self._reaches(trial) for trial in self.events.trials.values())

    def _reaches(self, trial: SweepTrial) -> bool:
        metric = self.sweep.metric
        return metric is not None and any(metric.reached(value) for value in trial.history)

    def _summary(self, trial: SweepTrial) -> str:
        """The value of a trial, for its line."""
        metric = self.sweep.metric
        if metric is None or not trial.history:
            return ""
        best = min(trial.history, key=lambda value: metric.sign * value)
        return f": {metric.name} {best:.6g}"

    @property
    def busy(self) -> Collection[int]:
        """Numbers of the trials that run."""
        return self.running

    def _in_state(self, state: str) -> list[SweepTrial]:
        return [trial for trial in self.events.trials.values() if trial.state == state]

    def _leave(self) -> None:
        """End the running trials as the command ends; they go on when the sweep does."""
        for child in self.running.values():
            child.ask_to_end(LEAVE)
        for child in self.running.values():
            child.process.wait()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
