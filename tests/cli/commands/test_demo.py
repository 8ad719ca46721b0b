"""The demo's schedule follows what the CPU can do."""

import pytest
import torch

from vision_suite.cli.commands.demo import SHORTER, schedule


@pytest.mark.parametrize(
    ("capabilities", "flags"),
    [({"amx_bf16": True}, ["--trainer.precision=bf16-mixed"]), ({"avx512_bf16": False, "avx2": True}, SHORTER)],
)
def test_bf16_is_for_cpus_with_instructions_for_it(monkeypatch, capabilities, flags):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert schedule() == flags


def test_a_torch_that_does_not_tell_gets_the_shorter_schedule(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert schedule() == SHORTER
