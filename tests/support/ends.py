"""How a command ended, for tests that run commands as a user does: no end by a fault passes for an ordinary one."""

import subprocess

from vision_suite.faults import BY_SIGNAL, CHECK_FAILED, DONE, FAULT, USER_ERROR

ASKED = {1, 2, 10, 13, 15}  # SIGHUP, SIGINT, SIGUSR1, SIGPIPE, SIGTERM


def classify(done: subprocess.CompletedProcess) -> str:
    """``ok``, ``check``, ``mistake``, ``signal`` or ``fault``.

    A traceback on stderr is a fault whatever the status, and so are a crash and a status that no command returns.
    """
    status = done.returncode
    stderr = done.stderr or ""
    text = stderr if isinstance(stderr, str) else stderr.decode(errors="replace")
    if status == FAULT or "Traceback (most recent call last)" in text:
        return "fault"
    if status in (DONE, CHECK_FAILED, USER_ERROR):
        return {DONE: "ok", CHECK_FAILED: "check", USER_ERROR: "mistake"}[status]
    number = -status if status < 0 else status - BY_SIGNAL
    return "signal" if number in ASKED else "fault"


def last_words(done: subprocess.CompletedProcess) -> str:
    """The one line of the command on stderr that is no warning, without the program's name.

    Raises:
        AssertionError: There is no such line, or more than one.
    """
    start = "vision-suite: "
    lines = [line for line in done.stderr.splitlines() if line.startswith(start)]
    lines = [line.removeprefix(start) for line in lines if not line.startswith(f"{start}warning")]
    assert len(lines) == 1, done.stderr
    return lines[0]
