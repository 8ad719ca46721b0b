"""Settings of every test: no network by accident, no crowd of threads for tiny tensors."""

import os
import signal

import setuptools  # noqa: F401  (before anything loads the standard distutils, which it replaces)

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"

# A shell lets its background jobs ignore Ctrl+C; tests of that signal must not.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
