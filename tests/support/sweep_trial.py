"""A trial without torch: logs a loss of its arguments at every step, slowly, and says when it came to its end.

Arguments are ``--x=0.3 --name=value``; unknown ones are ignored. ``--steps``, ``--pause`` (seconds), ``--fail`` (a
status), ``--nan`` (no loss is a number) and ``--term`` (a status with which it ends on SIGTERM, or ``ignore``) have a
meaning. Steps and ends are appended to ``ledger.txt`` in the working folder.
"""

import json
import os
import signal
import subprocess
import sys
import time


def main():
    given = dict(word.removeprefix("--").partition("=")[::2] for word in sys.argv[1:])
    x, steps, pause = float(given.get("x", 0)), int(given.get("steps", 3)), float(given.get("pause", 0))
    log = os.environ["VISION_SUITE_TRIAL_LOG"]
    if "term" in given:
        signal.signal(signal.SIGTERM, lambda *_: told_to_end(given["term"]))
    if "child" in given:  # a worker that outlives its parent unless something ends it
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
        note(f"worker {worker.pid}")
    for step in range(1, steps + 1):
        time.sleep(pause)
        with open(log, "a") as file:
            loss = float("nan") if "nan" in given else (x - 0.3) ** 2 + 1 / step
            file.write(json.dumps({"step": step, "epoch": step - 1, "metrics": {"loss": loss}}) + "\n")
    if "fail" in given:
        sys.exit(int(given["fail"]))
    note(f"end {' '.join(sys.argv[1:])}")
    os._exit(0)  # at once: killed in the interpreter's own end, the trial would note its end a second time


def told_to_end(how):
    note(f"told to end: {how}")
    if how != "ignore":
        sys.exit(int(how))


def note(text):
    with open("ledger.txt", "a") as file:
        file.write(f"{text}\n")


if __name__ == "__main__":
    main()
