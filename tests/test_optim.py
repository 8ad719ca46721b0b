"""Learning-rate schedules against timm's and the TransReID recipe; parameter groups; what moves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.scheduler import CosineLRScheduler
from torch import nn

from vision_suite.errors import ConfigError
from vision_suite.losses.uncertainty import UncertaintyWeighting
from vision_suite.models.dcal import DCAL
from vision_suite.optim import OptimConfig, build_optimizer, lr_at, parameter_groups, peak_lr

TRANSREID = OptimConfig(
    name="sgd", lr=0.008, weight_decay=1e-4, decay_all=True, bias_lr_factor=2.0, interval="epoch", warmup=5,
    warmup_lr=8e-5, min_lr=1.6e-5,
)  # fmt: skip


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 3))
        self.loss = UncertaintyWeighting(["a", "b"])


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(1, 1.664e-3), (4, 6.416e-3), (5, 7.9658e-3), (60, 4.008e-3), (100, 5.508e-4), (119, 1.7368e-5), (120, 1.6e-5)],
)
def test_transreid_schedule(epoch, rate):
    assert lr_at(TRANSREID, 0.008, epoch, 120) == pytest.approx(rate, rel=1e-4)


def timm_rates(optimizer, epochs, total, config, offset):
    schedule = CosineLRScheduler(
        optimizer, t_initial=total, lr_min=config.min_lr, warmup_t=int(config.warmup), warmup_lr_init=config.warmup_lr
    )
    for epoch in range(epochs):
        schedule.step(epoch + offset)
        yield [group["lr"] for group in optimizer.param_groups]


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 60), st.integers(0, 7), st.floats(0, 1e-3), st.sampled_from([1.0, 2.0]))
def test_every_group_follows_timm(total, warmup, low, bias):
    config = OptimConfig(
        name="sgd", lr=0.01, bias_lr_factor=bias, interval="epoch", warmup=warmup, warmup_lr=low, min_lr=low / 2
    )
    optimizer, schedule = build_optimizer(Toy(), config, total=total, global_batch=1)
    other = torch.optim.SGD(parameter_groups(Toy(), config, 0.01), lr=0.01)
    for expected in timm_rates(other, total, total, config, offset=1):
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(expected, rel=1e-9, abs=1e-15)
        optimizer.step()
        schedule.step()


def test_warmup_as_a_share_and_constant_rate():
    share = OptimConfig(lr=1.0, warmup=0.1, schedule="constant")
    assert [lr_at(share, 1.0, t, 100) for t in (1, 5, 10, 50, 100)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0])
    cosine = OptimConfig(lr=1.0)
    assert lr_at(cosine, 1.0, 50, 100) == pytest.approx(0.5)
    assert lr_at(cosine, 1.0, 150, 100) == 0.0


def test_the_first_step_is_not_wasted():
    config = OptimConfig(lr=1.0, warmup=10)
    optimizer, _ = build_optimizer(Toy(), config, total=100, global_batch=1)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_rate_scales_with_the_global_batch():
    config = OptimConfig(lr=5e-4, lr_reference_batch=512)
    assert peak_lr(config, 16) == pytest.approx(1.5625e-5)
    assert peak_lr(config, 64) == pytest.approx(6.25e-5)
    assert peak_lr(OptimConfig(lr=0.008), 64) == 0.008


def groups_by_name(model, config):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["weight_decay"], group["lr"])
        for group in parameter_groups(model, config, config.lr)
        for parameter in group["params"]
    }


def test_groups_decay_matrices_only():
    found = groups_by_name(Toy(), OptimConfig(lr=1.0, weight_decay=0.05))
    assert found == {
        "linear.weight": (0.05, 1.0),
        "linear.bias": (0.0, 1.0),
        "norm.weight": (0.0, 1.0),
        "norm.bias": (0.0, 1.0),
        "cls_token": (0.0, 1.0),
        "loss.log_variance.a": (0.0, 1.0),
        "loss.log_variance.b": (0.0, 1.0),
    }


def test_transreid_groups_decay_all_but_loss_weights_and_double_biases():
    found = groups_by_name(Toy(), TRANSREID)
    rates = {name: rate for name, (_, rate) in found.items()}
    assert {name for name, rate in rates.items() if rate == 0.016} == {"linear.bias", "norm.bias"}
    assert {name for name, (decay, _) in found.items() if decay == 0} == {"loss.log_variance.a", "loss.log_variance.b"}


def test_every_trainable_parameter_of_the_network_is_in_one_group():
    net = DCAL(
        3, backbone="deit_tiny_distilled_patch16_224", image_size=(32, 32), side_information="camera", num_cameras=2,
        backbone_args={"depth": 2, "embed_dim": 24},
    )  # fmt: skip
    config = OptimConfig(weight_decay=0.05)
    found = groups_by_name(net, config)
    assert set(found) == {name for name, p in net.named_parameters() if p.requires_grad}
    free = {name for name, (decay, _) in found.items() if decay == 0}
    assert {"vit.cls_token", "vit.dist_token", "vit.pos_embed", "side.table", "head.neck.weight"} <= free
    assert "head.neck.bias" not in found
    assert not {name for name in free if name.endswith(("qkv.weight", "fc1.weight", "classifier.weight"))}


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_optimiser_and_loss_weights_move(name, kind):
    model = Toy()
    optimizer, schedule = build_optimizer(model, OptimConfig(name=name, lr=0.1), total=10, global_batch=1)
    assert type(optimizer) is kind
    model.loss({"a": torch.tensor(3.0), "b": torch.tensor(0.2)}).backward()
    optimizer.step()
    schedule.step()
    weights = {key: value.item() for key, value in model.loss.log_variances().items()}
    assert weights["a"] > 0 > weights["b"]


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_fused_optimiser_takes_the_same_steps(name):
    ends = []
    for fused in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        config = OptimConfig(name=name, lr=0.1, schedule="constant", fused=fused)
        optimizer, _ = build_optimizer(model, config, total=5, global_batch=1)
        assert optimizer.defaults["fused"] is (True if fused else None)
        for _ in range(5):
            model(torch.ones(2, 4)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(model.weight.detach())
    torch.testing.assert_close(ends[1], ends[0])


def test_sgd_has_momentum_and_adam_its_betas():
    sgd, _ = build_optimizer(Toy(), OptimConfig(name="sgd", momentum=0.7), total=1, global_batch=1)
    assert {group["momentum"] for group in sgd.param_groups} == {0.7}
    adam, _ = build_optimizer(Toy(), OptimConfig(betas=(0.8, 0.9)), total=1, global_batch=1)
    assert {tuple(group["betas"]) for group in adam.param_groups} == {(0.8, 0.9)}


def test_schedule_continues_from_its_state():
    runs = []
    for stop in (None, 4):
        optimizer, schedule = build_optimizer(Toy(), TRANSREID, total=10, global_batch=1)
        rates = []
        for epoch in range(10):
            if epoch == stop:
                saved, saved_optimizer = schedule.state_dict(), optimizer.state_dict()
                optimizer, schedule = build_optimizer(Toy(), TRANSREID, total=10, global_batch=1)
                optimizer.load_state_dict(saved_optimizer)
                schedule.load_state_dict(saved)
            rates.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            schedule.step()
        runs.append(rates)
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adagrad"}, "choose one of adamw, adam, sgd"),
        ({"schedule": "linear"}, "choose one of cosine, constant"),
        ({"interval": "batch"}, "choose one of step, epoch"),
        ({"lr": 0.0}, "must be above 0"),
        ({"warmup": -1}, "not below"),
        ({"lr_reference_batch": 0}, "1 or more, or unset"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        OptimConfig(**settings)


def test_a_run_of_unknown_length():
    for config in (OptimConfig(), OptimConfig(interval="epoch"), OptimConfig(schedule="constant", warmup=0.5)):
        with pytest.raises(ConfigError, match="needs the length of the run: give"):
            build_optimizer(Toy(), config, total=0, global_batch=1)
    optimizer, schedule = build_optimizer(
        Toy(), OptimConfig(lr=1.0, schedule="constant", warmup=2), total=0, global_batch=1
    )
    rates = []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.5, 1.0, 1.0])


def test_nothing_to_train_is_refused():
    with pytest.raises(ConfigError, match="unfreeze"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), OptimConfig(), 1.0)


class Parts(nn.Module):
    """Two parts of which one name begins as the other."""

    def __init__(self):
        super().__init__()
        self.host = nn.ModuleDict({"base": nn.Linear(2, 2), "baseline": nn.Linear(2, 2), "back": nn.Linear(2, 2)})


@pytest.mark.parametrize("part", ["host.base", "base", "host.base.weight"])
def test_weight_decay_of_a_part_by_its_whole_dotted_name(part):
    found = groups_by_name(Parts(), OptimConfig(weight_decay=0.1, decay_all=True, decay_factors={part: 10.0}))
    multiplied = {name for name, (decay, _) in found.items() if decay == 1.0}
    assert multiplied == {"host.base.weight", *(() if part.endswith("weight") else ("host.base.bias",))}


def test_a_name_of_no_part_is_one_line_with_the_names_that_are_near():
    with pytest.raises(ConfigError, match=r"'host\.ba' names no part .* such as host\.back or host\.base or host\.bas"):
        parameter_groups(Parts(), OptimConfig(decay_factors={"host.ba": 10.0}), 1.0)


def rates_by_name(model, config, times, **run):
    """Rates of each parameter at some times of a run, as its optimiser applies them."""
    optimizer, schedule = build_optimizer(model, config, **{"total": 10, "global_batch": 1, **run})
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {name: [] for name in names.values()}
    for time in range(1, max(times) + 1):
        if time in times:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    found[names[id(parameter)]].append(group["lr"])
        optimizer.step()
        schedule.step()
    return found


WARM = {"lr": 0.1, "warmup": 2, "warmup_lr": 0.01, "min_lr": 0.001, "bias_lr_factor": 2.0}


@pytest.mark.parametrize("schedule", [{}, {"schedule": "constant"}, {"schedule": "step", "milestones": (3, 6)}])
def test_the_rate_of_a_part_is_the_common_curve_times_its_factor(schedule):
    times = range(1, 11)
    common = rates_by_name(Parts(), OptimConfig(**WARM, **schedule), times)
    found = rates_by_name(Parts(), OptimConfig(**WARM, **schedule, lr_factors={"host.base": 0.02}), times)
    assert found.keys() == common.keys()
    for name, rates in found.items():
        expected = [rate * 0.02 if name.startswith("host.base.") else rate for rate in common[name]]
        assert rates == pytest.approx(expected, rel=1e-12), name


def test_the_innermost_part_that_holds_a_parameter_gives_its_rate():
    """As in a decoder at a low rate with wings inside at a high one, in whatever order files list them."""
    for factors in (
        {"host": 0.1, "base": 3.0},
        {"base": 3.0, "host": 0.1},
        {"base": 7.0, "host.base": 3.0, "host": 0.1},
    ):
        config = OptimConfig(lr=0.1, schedule="constant", lr_factors=factors)
        found = rates_by_name(Parts(), config, [1])
        assert found["host.base.weight"] == [pytest.approx(0.3)]
        assert {name: rates for name, rates in found.items() if name.startswith("host.back.")} == {
            "host.back.weight": [pytest.approx(0.01)],
            "host.back.bias": [pytest.approx(0.01)],
        }


def test_no_factor_leaves_optimiser_and_groups_as_they_were():
    optimizer, _ = build_optimizer(Parts(), OptimConfig(lr=0.1), total=10, global_batch=1)
    same, _ = build_optimizer(Parts(), OptimConfig(lr=0.1, lr_factors={"host": 1.0}), total=10, global_batch=1)
    assert [{**group, "params": 0} for group in optimizer.param_groups] == [
        {**group, "params": 0} for group in same.param_groups
    ]
    assert "lr_factor" not in optimizer.param_groups[0]


def test_a_factor_on_the_rate_of_no_part_is_one_line():
    with pytest.raises(ConfigError, match=r"optim\.lr_factors: 'host\.ba' names no part"):
        parameter_groups(Parts(), OptimConfig(lr_factors={"host.ba": 10.0}), 1.0)
    # A frozen part has a name as well.
    model = Parts()
    model.host.base.requires_grad_(False)
    parameter_groups(model, OptimConfig(lr_factors={"host.base": 10.0}), 1.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"weight_decay": -1}, {"weight_decay": float("nan")}, {"bias_lr_factor": 0}, {"momentum": 1.0},
        {"betas": (0.9, 1.0)}, {"warmup_lr": -1}, {"min_lr": -1e-6}, {"gamma": 0}, {"lr": float("inf")},
        {"schedule": "step", "milestones": (0, 3)}, {"decay_factors": {"host": -1.0}},
        {"lr_factors": {"host": 0.0}}, {"lr_factors": {"host": float("nan")}}, {"weight_decay": 10**400},
    ],
)  # fmt: skip
def test_numbers_outside_their_range_are_refused(settings):
    with pytest.raises(ConfigError, match=f"^optim.{list(settings)[-1]}"):
        OptimConfig(**settings)
