"""LitWings on conversations about coloured squares."""

import instruct_tiny
import pytest
import torch


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    return instruct_tiny.write_squares(tmp_path_factory.mktemp("set") / "squares")


def test_learns_from_scratch(squares, tmp_path):
    data = instruct_tiny.squares(squares)
    net = instruct_tiny.module(data)
    run = instruct_tiny.trainer(tmp_path, max_epochs=30)
    run.fit(net, datamodule=data)
    run.test(net, datamodule=data, verbose=False)
    print(net.report.metrics, net.report.answers[:3], net.report.protocol["warnings"])
    assert net.report.metrics["accuracy/colours"] == 1.0
