"""Training step of DCAL against its self-attention baseline and against the usual way of writing DCAL.

Variants, on the same pictures in one process, in turn:

* ``sa``: the self-attention network alone.
* ``dcal``: all three branches as this suite runs them: rollout by rows, pair-wise attention as the pair view.
* ``dcal-T6``, ``dcal-T4``: the same with the newest 6 or 4 of 12 blocks pair-wise; older ones are shared with
  self-attention.
* ``dcal-share50``, ``dcal-share30``: half, or 30 %, of the batch is paired in a step, in all blocks.
* ``dcal-cls``: the class-token read-out, which needs no rollout.
* ``sa on pytorch``, ``dcal on pytorch``: the same networks without the compiled operators.
* ``plain``: pair-wise attention over concatenated keys, rollout from materialised N x N maps per head, global-local
  queries projected for all rows: what a straightforward implementation does.

Inference is the evaluation pass, with features of both branches. bfloat16 is autocast.

Run: python benchmarks/dcal_step.py [--sizes 224 448] [--precisions float32 bfloat16] [--batch 8] [--repeats 5]
Writes docs/results/dcal_step.md and docs/results/dcal_step.json.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from results import describe_run, write_results
from torch import Tensor
from tqdm import tqdm

from vision_suite.layers.vit import attention_of, blocks_of, embed_tokens, finish_block, gather_rows, project_qkv
from vision_suite.losses.multi_branch import MultiBranchLoss
from vision_suite.models.dcal import DCAL
from vision_suite.models.dcal.glca import select_queries
from vision_suite.ops.attention import portable_attention, status
from vision_suite.ops.rollout import rollout_from_maps

BACKBONE = "deit_tiny_patch16_224"
CLASSES = 200


def network(size: int, **switches: object) -> DCAL:
    """DeiT-Tiny DCAL for square pictures, with the paper's fine-grained settings."""
    torch.manual_seed(0)
    settings: dict[str, object] = {"task": "fgvc", "glca": {"ratio": 0.1}, "drop_path": 0.1, **switches}
    return DCAL(CLASSES, backbone=BACKBONE, image_size=(size, size), **settings).train()  # type: ignore[arg-type]


def suite_step(model: DCAL, image: Tensor, label: Tensor) -> Callable[[], None]:
    """One forward and backward pass of the suite's network."""
    names = ["sa", *(["glca"] if model.glca is not None else []), *(["pwca"] if model.use_pwca else [])]
    loss = MultiBranchLoss(names, triplet=False)

    def step() -> None:
        output = model(image, label=label)
        branches = {name: getattr(output, name) for name in names}
        total, _ = loss(
            {name: branch.feature for name, branch in branches.items()},
            {name: branch.logits for name, branch in branches.items()},
            label,
            {"pwca": output.pwca_rows},
        )
        total.backward()
        model.zero_grad(set_to_none=True)

    return step


def plain_step(model: DCAL, image: Tensor, label: Tensor) -> Callable[[], None]:
    """The same loss from concatenated keys and materialised maps; the weights are the network's own."""
    loss = MultiBranchLoss(["sa", "glca", "pwca"], triplet=False)
    partner = torch.arange(len(image)) ^ 1

    def eager(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        attention = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)
        return attention @ value, attention

    def step() -> None:
        assert model.glca is not None
        assert model.glca_head is not None
        x = y = embed_tokens(model.vit, image)
        maps = []
        for block in blocks_of(model.vit):
            hidden = block.norm1(x)
            query, key, value = project_qkv(attention_of(block), hidden)
            out, attention = eager(query, key, value)
            maps.append(attention.detach())
            x = finish_block(block, x, hidden, out)
            hidden = block.norm1(y)
            query, key, value = project_qkv(attention_of(block), hidden)
            out, _ = eager(query, torch.cat([key, key[partner]], 2), torch.cat([value, value[partner]], 2))
            y = finish_block(block, y, hidden, out)
        index = select_queries(rollout_from_full_maps(maps), model.num_queries, model.prefix)
        block = blocks_of(model.vit)[-1]
        glca_block = model.glca.blocks[0]
        hidden = glca_block.norm1(x)  # type: ignore[operator]
        query, key, value = project_qkv(glca_block.attn, hidden)  # type: ignore[arg-type]
        rows = index[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[3])
        out, _ = eager(query.gather(2, rows), key, value)
        z = finish_block(glca_block, gather_rows(x, index), gather_rows(hidden, index), out)  # type: ignore[arg-type]
        branches = {
            "sa": model.head(model.vit.norm(x)[:, 0]),
            "glca": model.glca_head(model.glca.norm(z).mean(1)),
            "pwca": model.head(model.vit.norm(y)[:, 0]),
        }
        total, _ = loss({n: b.feature for n, b in branches.items()}, {n: b.logits for n, b in branches.items()}, label)
        total.backward()
        model.zero_grad(set_to_none=True)

    return step


def rollout_from_full_maps(maps: list[Tensor]) -> Tensor:
    """Class row of the full matrix product of all layers, as replications compute it."""
    eye = torch.eye(maps[0].shape[-1])
    product = eye.expand(len(maps[0]), -1, -1)
    for attention in maps:
        product = (0.5 * attention.mean(1) + 0.5 * eye) @ product
    return product[:, 0]


def check_rollout() -> None:
    """The two rollouts being timed must agree."""
    maps = [torch.rand(2, 3, 20, 20).softmax(-1) for _ in range(4)]
    torch.testing.assert_close(rollout_from_full_maps(maps), rollout_from_maps(maps))


def inference(model: DCAL, image: Tensor) -> Callable[[], None]:
    """One evaluation pass."""
    model = copy.deepcopy(model).eval()

    def step() -> None:
        with torch.inference_mode():
            model(image)

    return step


def on_pytorch(step: Callable[[], None]) -> Callable[[], None]:
    """The same step without the compiled operators."""

    def without() -> None:
        with portable_attention():
            step()

    return without


def contestants(size: int, image: Tensor, label: Tensor) -> dict[str, dict[str, Callable[[], None]]]:
    """Steps by mode and name."""
    sa, full = network(size, glca={"enabled": False}, pwca={"enabled": False}), network(size)
    training = {
        "sa": suite_step(sa, image, label),
        "dcal": suite_step(full, image, label),
        "sa on pytorch": on_pytorch(suite_step(sa, image, label)),
        "dcal on pytorch": on_pytorch(suite_step(full, image, label)),
        "dcal-T6": suite_step(network(size, pwca={"blocks": 6}), image, label),
        "dcal-T4": suite_step(network(size, pwca={"blocks": 4}), image, label),
        "dcal-share50": suite_step(network(size, pwca={"share": 0.5}), image, label),
        "dcal-share30": suite_step(network(size, pwca={"share": 0.3}), image, label),
        "dcal-cls": suite_step(network(size, glca={"ratio": 0.1, "readout": "cls"}), image, label),
        "plain": plain_step(full, image, label),
    }
    evaluation = {
        "sa": inference(sa, image),
        "dcal": inference(full, image),
        "sa on pytorch": on_pytorch(inference(sa, image)),
        "dcal on pytorch": on_pytorch(inference(full, image)),
    }
    return {"training": training, "inference": evaluation}


def measure(steps: dict[str, Callable[[], None]], repeats: int, size: int) -> dict[str, list[float]]:
    """CPU seconds of each variant, interleaved so that a drifting machine treats all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in tqdm(range(repeats), desc=f"{size} pixels"):
        for name, step in steps.items():
            start = time.thread_time()
            step()
            seconds[name].append(time.thread_time() - start)
    return seconds


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 448])
    parser.add_argument("--precisions", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)  # thread CPU time then counts all the work
    check_rollout()
    records: list[dict[str, object]] = []
    lines = [
        "| pixels | precision | mode | variant | CPU s a step (median) | ratio to sa |",
        "|---|---|---|---|---|---|",
    ]
    for size in options.sizes:
        image, label = torch.randn(options.batch, 3, size, size), torch.randint(0, CLASSES, (options.batch,))
        for (mode, steps), precision in itertools.product(contestants(size, image, label).items(), options.precisions):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                seconds = measure(steps, options.repeats, size)
            for name, values in seconds.items():
                # Step by step: both of a pair ran within one round, so the machine's drift cancels.
                ratio = statistics.median(a / b for a, b in zip(values, seconds["sa"], strict=True))
                middle = statistics.median(values)
                lines.append(f"| {size} | {precision} | {mode} | {name} | {middle:.3f} | {ratio:.2f} |")
                origin = {"experiment": mode, "variant": name, "pixels": size, "precision": precision}
                for metric, value in (("seconds", middle), ("ratio_to_sa", ratio)):
                    records.append({**origin, "metric": metric, "value": round(value, 4)})
    isa = status()["cpu"]["isa"] or "none"  # type: ignore[index]
    note = (
        f"{BACKBONE}, {CLASSES} classes, batch {options.batch}, one thread, training is forward and backward, no "
        f"optimiser; {options.repeats} interleaved rounds, thread CPU time; compiled operators: {isa}.\n\n"
        "`dcal` runs every block twice on as many tokens (self-attention and pair-wise streams share weights, not "
        "activations), so about 2 is its floor as long as all blocks are pair-wise; `dcal-T6` and `dcal-T4` make only "
        "the newest six or four pair-wise, `dcal-share50` and `dcal-share30` pair that part of the batch, drawn anew "
        "in each step (the same loss in expectation)."
    )
    write_results(options.output / "dcal_step", "DCAL training step", note, "\n".join(lines), records, describe_run())
    print("\n".join(lines))


if __name__ == "__main__":
    main()
