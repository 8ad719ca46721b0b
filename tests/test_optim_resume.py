"""Settings of a resumed run, against an optimiser that was built with them from the start."""

import copy
import math

import pytest
import torch
from torch import nn

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.optim import OptimConfig, build_optimizer, grouped, lr_at, parameter_groups
from vision_suite.optim_resume import Plan, apply_settings, check_optimizer, options_of, regrouped


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))


def step(model, optimizer, schedule):
    optimizer.zero_grad()
    (model.norm(model.linear(torch.ones(2, 3))) + model.cls_token).square().sum().backward()
    optimizer.step()
    schedule.step()


def trained(plan, steps):
    torch.manual_seed(0)
    model = Toy()
    optimizer, schedule = build_optimizer(model, plan.optim, total=plan.total, global_batch=plan.global_batch or 1)
    for _ in range(steps):
        step(model, optimizer, schedule)
    return model, optimizer, schedule


def resumed(saved, now, steps=4, **times):
    """The optimiser of a run that trained with ``saved`` and goes on with ``now``; its states were regrouped."""
    model, first, first_schedule = trained(saved, steps)
    optimizer, schedule = build_optimizer(model, now.optim, total=now.total, global_batch=now.global_batch or 1)
    options = options_of(optimizer)
    optimizer.load_state_dict(regrouped(copy.deepcopy(first.state_dict()), model, saved.optim, now.optim))
    schedule.load_state_dict(first_schedule.state_dict())
    line = apply_settings(
        optimizer, schedule, options, now, Plan.from_plain(saved.plain()), **{"step": steps, "epoch": 0, **times}
    )
    return model, first, optimizer, schedule, line


def by_parameter(model, optimizer, *names):
    """Options of each parameter by its name."""
    found = {id(p): tuple(group[n] for n in names) for group in optimizer.param_groups for p in group["params"]}
    return {name: found[id(parameter)] for name, parameter in model.named_parameters()}


COSINE = OptimConfig(lr=1e-3, warmup=2, warmup_lr=1e-5, min_lr=1e-6, weight_decay=0.05)
CHANGED = [
    OptimConfig(lr=0.5, warmup=2, warmup_lr=1e-5, min_lr=1e-6, weight_decay=0.05),
    OptimConfig(lr=1e-3, schedule="constant", weight_decay=0.3, betas=(0.8, 0.9)),
    OptimConfig(lr=1e-3, schedule="step", milestones=(2, 6), gamma=0.5, weight_decay=0.05),
    OptimConfig(lr=1e-3, warmup=0.8, min_lr=1e-4, weight_decay=0.0),  # merges two groups
    OptimConfig(lr=2e-3, decay_all=True, bias_lr_factor=2.0),
    OptimConfig(lr=2e-3, lr_reference_batch=4, decay_factors={"linear": 10.0}),
    OptimConfig(lr=1e-3, warmup=2, warmup_lr=1e-5, min_lr=1e-6, weight_decay=0.05, lr_factors={"linear": 0.1}),
    OptimConfig(lr=1e-3, warmup=2, bias_lr_factor=2.0, lr_factors={"norm": 4.0, "linear": 0.1, "cls_token": 0.5}),
]


@pytest.mark.parametrize("config", CHANGED)
@pytest.mark.parametrize("total", [10, 20])
def test_the_rest_of_the_run_has_the_new_settings_and_the_old_moments(config, total):
    saved, now = Plan(COSINE, 10, 8), Plan(config, total, 8)
    model, first, optimizer, schedule, line = resumed(saved, now)
    for parameter in model.parameters():
        for name, value in first.state[parameter].items():
            assert torch.equal(optimizer.state[parameter][name], value), name
    # An optimiser that had the new settings from its first step.
    other, reference, steps = trained(now, 4)
    names = ("lr", "initial_lr", "weight_decay", "betas")
    for _ in range(5):
        assert by_parameter(model, optimizer, *names) == by_parameter(other, reference, *names)
        assert schedule.get_last_lr() == steps.get_last_lr()
        step(model, optimizer, schedule)
        step(other, reference, steps)
    assert line.startswith("resumed at step 4: ")


@pytest.mark.parametrize("config", CHANGED[-2:])
def test_factors_on_the_rate_can_be_left_out_again(config):
    model, _, optimizer, schedule, line = resumed(Plan(config, 10, 8), Plan(COSINE, 10, 8))
    other, reference, steps = trained(Plan(COSINE, 10, 8), 4)
    assert "optim.lr_factors={} (was {" in line
    for _ in range(3):
        assert by_parameter(model, optimizer, "lr", "initial_lr") == by_parameter(other, reference, "lr", "initial_lr")
        step(model, optimizer, schedule)
        step(other, reference, steps)


def test_the_order_of_factors_changes_nothing():
    first, second = ({"linear": 0.1, "weight": 0.5}, {"weight": 0.5, "linear": 0.1})
    plans = [Plan(OptimConfig(lr=1e-3, lr_factors=factors), 10, 8) for factors in (first, second)]
    model, _, optimizer, _, line = resumed(*plans)
    assert line is None
    assert by_parameter(model, optimizer, "initial_lr")["linear.weight"] == (5e-4,)


def test_a_line_tells_the_rate_of_the_main_part():
    """Where no part has the common rate, the course is that of the nearest one."""
    factors = {"linear": 0.1, "norm": 0.01, "cls_token": 0.01}
    config = OptimConfig(lr=1e-3, min_lr=0.0, lr_factors=factors)
    line = resumed(Plan(COSINE, 10, 8), Plan(config, 10, 8), steps=4)[-1]
    rate = lr_at(config, 1e-3, 5, 10) * 0.1
    assert line.endswith(f"to {rate:.4g} and down to 0 at step 10")


def test_unchanged_settings_touch_nothing():
    plan = Plan(COSINE, 10, 8)
    _, first, optimizer, _, line = resumed(plan, plan)
    assert line is None
    assert [{**g, "params": 0} for g in optimizer.param_groups] == [{**g, "params": 0} for g in first.param_groups]
    # An older file does not know its length: the rate tells whether it is another one.
    assert resumed(Plan(COSINE, 10), Plan(COSINE, 10, 8))[-1] is None


def test_settings_of_an_older_file_without_a_length():
    model, first, first_schedule = trained(Plan(COSINE, 10), 4)
    optimizer, schedule = build_optimizer(model, COSINE, total=20, global_batch=1)
    options = options_of(optimizer)
    optimizer.load_state_dict(first.state_dict())
    schedule.load_state_dict(first_schedule.state_dict())
    line = apply_settings(optimizer, schedule, options, Plan(COSINE, 20), Plan(COSINE), step=4, epoch=0)
    assert "the schedule has another length than before: the rate goes up from " in line
    assert optimizer.param_groups[0]["lr"] == pytest.approx(lr_at(COSINE, 1e-3, 5, 20))


def test_an_extended_cosine_says_what_the_rate_does():
    config = OptimConfig(lr=1e-3, min_lr=1e-6)
    *_, optimizer, _, line = resumed(Plan(config, 10, 8), Plan(config, 20, 8), steps=9)
    rate = lr_at(config, 1e-3, 10, 20)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
    assert line == (
        "resumed at step 9: the cosine now ends at step 20 instead of 10: the rate goes up from 1e-06 to "
        f"{rate:.4g} and down to 1e-06 at step 20"
    )


def test_a_changed_rate_is_named_with_the_old_one():
    line = resumed(Plan(COSINE, 10, 8), Plan(CHANGED[0], 10, 8))[-1]
    before, after = (lr_at(config, config.lr, 5, 10) for config in (COSINE, CHANGED[0]))
    assert line == (
        f"resumed at step 4: optim.lr=0.5 (was 0.001): the rate goes up from {before:.4g} to {after:.4g} and down to "
        "1e-06 at step 10"
    )


def test_a_warm_up_ahead_is_told():
    now = OptimConfig(lr=1e-3, warmup=8, schedule="constant")
    line = resumed(Plan(OptimConfig(lr=1e-3, schedule="constant"), 10), Plan(now, 10))[-1]
    assert line.endswith("the rate goes down from 0.001 to 0.000625, on to 0.001 at step 8")


def test_another_batch_moves_a_rate_that_scales_with_it():
    config = OptimConfig(lr=1e-3, lr_reference_batch=16, schedule="constant")
    *_, optimizer, _, line = resumed(Plan(config, 10, 16), Plan(config, 10, 32))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2e-3)
    assert "global batch 32 (was 16), peak rate 0.002 (was 0.001): the rate goes up from 0.001 to 0.002" in line


@pytest.mark.parametrize(("old", "new", "total", "time"), [("step", "epoch", 3, 2), ("epoch", "step", 30, 14)])
def test_another_interval_counts_in_its_own_unit(old, new, total, time):
    saved = Plan(OptimConfig(lr=1e-3, interval=old), 10)
    now = Plan(OptimConfig(lr=1e-3, interval=new), total)
    *_, optimizer, schedule, line = resumed(saved, now, step=14, epoch=2)
    assert schedule.last_epoch == time
    assert optimizer.param_groups[0]["lr"] == pytest.approx(lr_at(now.optim, 1e-3, time + 1, total))
    assert f"optim.interval={new} (was {old})" in line


def test_another_optimiser_is_refused():
    with pytest.raises(ConfigError, match=r"--model\.optim\.name=sgd: the checkpoint holds the state of adamw"):
        check_optimizer(COSINE, OptimConfig(name="sgd"))


def test_other_parameters_cannot_be_regrouped():
    model, optimizer, _ = trained(Plan(COSINE, 10), 1)
    model.norm.weight.requires_grad_(False)
    with pytest.raises(CheckpointError, match="leave the settings"):
        regrouped(optimizer.state_dict(), model, COSINE, OptimConfig(decay_all=True))


def test_a_plan_survives_a_checkpoint():
    plan = Plan(OptimConfig(betas=(0.8, 0.9), schedule="step", milestones=(3, 4)), 7, 16)
    stored = plan.plain()
    assert Plan.from_plain(stored) == plan
    assert isinstance(stored["settings"]["milestones"], list)
    assert math.isclose(plan.peak, 5e-4)


def test_parts_of_an_older_run_were_texts_anywhere_in_a_name():
    """Its state is regrouped by the rule it was made with: ``lin`` met every parameter that holds it."""
    model = nn.ModuleDict({"line": nn.Linear(2, 2), "linear": nn.Linear(2, 2), "other": nn.Linear(2, 2)})
    old = OptimConfig(decay_all=True, decay_factors={"lin": 10.0})
    groups = grouped(model, old, 1.0, lambda text, name: text in name)
    assert sorted(len(group["params"]) for group in groups) == [2, 4]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    now = OptimConfig(decay_all=True, decay_factors={"linear": 10.0})
    state = regrouped(optimizer.state_dict(), model, old, now)
    other = torch.optim.AdamW(parameter_groups(model, now, 1.0), lr=1.0)
    other.load_state_dict(state)
    for parameter in model.parameters():
        assert torch.equal(other.state[parameter]["exp_avg"], optimizer.state[parameter]["exp_avg"])
