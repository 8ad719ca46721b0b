"""Settings of every test: no network by accident, no crowd of threads for tiny tensors."""

import os

import setuptools  # noqa: F401  (before anything loads the standard distutils, which it replaces)

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
