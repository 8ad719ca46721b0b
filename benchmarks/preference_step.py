"""Training step on preference pairs with pictures, against TRL's DPO trainer on the same tiny model.

One LLaVA of transformers with random weights, a frozen CLIP encoder and LoRA in all linear layers of its language
model; the reference is the model without LoRA. Every contestant computes the loss (C-DPO, beta 0.1) and its gradients
on the same ids and pictures, with the very same weights:

* ``trl``: `compute_loss` of TRL's `DPOTrainer` on a batch of its own collator. It encodes each picture for both answers
  and again for the reference, and on a CPU it projects every position to the vocabulary.
* ``rows``: this suite, a row for each answer; pictures are encoded once, supervised positions alone are projected.
* ``shared``: this suite, beginnings computed once for both answers.
* ``shared, cached``: the same with the reference's log-probabilities known from before, which TRL refuses for pictures.

Neither side keeps activations back (no gradient checkpointing). Preparation of ids and pictures is not measured. Times
are CPU time of one thread, best of several rounds after one that is not counted, contestants in turn. Memory is the
growth of a child's peak resident size during a second step. Tokens and pictures are counted by hooks.

Run: python benchmarks/preference_step.py [--pairs 4] [--rounds 3]
Needs the packages trl (1.16.0 for the numbers of the page), datasets and peft.
Writes docs/results/preference_step.md and docs/results/preference_step.json; with other sizes than the default the page
is printed only.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peak_memory import peak_mebibytes
from PIL import Image
from results import describe_run, write_results
from torch import Tensor

from vision_suite.layers.drop_in import NAME, register_with_transformers
from vision_suite.losses.preference import preference_loss
from vision_suite.models.mllm.branches import branch_logps, paired_logps
from vision_suite.models.mllm.llava import from_llava
from vision_suite.models.mllm.scoring import with_features
from vision_suite.text.tokenizers import word_tokenizer
from vision_suite.types.instruct import InstructBatch
from vision_suite.types.preference import PreferenceBatch

STEM = Path(__file__).resolve().parents[1] / "docs" / "results" / "preference_step"
# Pictures of 576 tokens and 74 of text as LLaVA-1.5 has them, sentences of 26 and 28 ids.
SIZES = {"pairs": 4, "side": 336, "width": 256, "layers": 4, "vocabulary": 32000, "text": 74, "sentence": 28}
PATCH = 14
CONTESTANTS = ("trl", "rows", "shared", "shared, cached")


class Setting:
    """One model and one batch, as both sides see them."""

    def __init__(self, pairs: int, side: int, width: int, layers: int, vocabulary: int, text: int, sentence: int):
        import transformers
        from trl import DPOTrainer

        transformers.utils.logging.set_verbosity_error()
        register_with_transformers()
        torch.manual_seed(0)
        words = [f"w{number}" for number in range(vocabulary)]
        tokenizer = word_tokenizer([" ".join(words)])
        self.llava = _llava(side, width, layers, len(tokenizer), tokenizer.convert_tokens_to_ids("<image>"))
        examples = _examples(pairs, side, words, text, sentence)
        with tempfile.TemporaryDirectory() as folder:
            self.trainer: Any = DPOTrainer(**_arguments(self.llava, tokenizer, side, examples, folder))
        self.model: Any = self.trainer.model.train()
        with torch.no_grad():
            for name, each in self.model.named_parameters():
                if "lora_B" in name:  # zero at first, which would leave half of the gradients zero
                    each.copy_(torch.randn_like(each) * 0.02)
        collated = self.trainer.data_collator([dict(each) for each in self.trainer.train_dataset])
        self.theirs = {name: value for name, value in collated.items() if isinstance(value, Tensor)}
        self.net = from_llava(self.llava)
        self.ours = _batch(self.theirs, pairs, self.net.image_token_id)
        self.known = self.reference(branch_logps)

    def use(self, attention: str) -> None:
        """Choose the attention of the language model."""
        self.llava.model.language_model.set_attn_implementation(attention)

    @torch.no_grad()
    def reference(self, way: Callable[..., Tensor], batch: PreferenceBatch | None = None) -> Tensor:
        """Log-probabilities (B, 2) without LoRA."""
        self.use(NAME)
        with self.model.disable_adapter():
            return way(self.net, batch or self.ours)

    def loss(self, name: str) -> Tensor:
        """Loss of a contestant."""
        if name == "trl":
            self.use("sdpa")
            return cast("Tensor", self.trainer.compute_loss(self.model, dict(self.theirs)))
        self.use(NAME)
        batch = cast("PreferenceBatch", with_features(self.net, cast("InstructBatch", self.ours)))
        way = paired_logps if name == "rows" else branch_logps
        known = self.known if name == "shared, cached" else self.reference(way, batch)
        return preference_loss(way(self.net, batch), known).loss

    def counted(self, name: str) -> dict[str, int]:
        """Tokens and pictures that pass the language model and the encoder in a step."""
        found = {"tokens": 0, "pictures": 0}

        def tokens(_: Any, args: Any, kwargs: Any) -> None:
            found["tokens"] += kwargs["inputs_embeds"].shape[:2].numel()

        def pictures(_: Any, args: Any, kwargs: Any) -> None:
            found["pictures"] += len(args[0] if args else kwargs["pixel_values"])

        parts = self.llava.model
        hooks = [
            part.register_forward_pre_hook(hook, with_kwargs=True)
            for part, hook in ((parts.language_model, tokens), (parts.vision_tower, pictures))
        ]
        self.loss(name)
        for hook in hooks:
            hook.remove()
        return found


def _llava(side: int, width: int, layers: int, vocabulary: int, image_token: int) -> Any:
    """A random LLaVA."""
    import transformers

    vision = transformers.CLIPVisionConfig(
        hidden_size=width // 2, intermediate_size=2 * width, num_hidden_layers=layers, num_attention_heads=4,
        image_size=side, patch_size=PATCH, projection_dim=width,
    )  # fmt: skip
    decoder = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=-(-width // 3) * 8, num_hidden_layers=layers,
        num_attention_heads=width // 32, num_key_value_heads=width // 32, max_position_embeddings=4096,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=decoder, image_token_id=image_token, image_seq_length=(side // PATCH) ** 2
    )
    return transformers.LlavaForConditionalGeneration(config)


def _examples(pairs: int, side: int, words: list[str], text: int, sentence: int) -> list[dict[str, Any]]:
    """Pictures of noise and random words: question and context, and two sentences, the preferred one shorter by 2."""
    draw = np.random.default_rng(0)

    def some(count: int) -> str:
        return " ".join(draw.choice(words, count))

    return [
        {
            "images": [Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8))],
            "prompt": f"<image> {some(text)}",
            "chosen": some(sentence - 2),
            "rejected": some(sentence),
        }
        for _ in range(pairs)
    ]


def _arguments(model: Any, tokenizer: Any, side: int, examples: list[dict[str, Any]], folder: str) -> dict[str, Any]:
    """Arguments of TRL's trainer."""
    import transformers
    from peft import LoraConfig
    from trl import DPOConfig

    from datasets import Dataset  # type: ignore[attr-defined]

    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        ),
        tokenizer, patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip
    settings = DPOConfig(
        output_dir=folder, per_device_train_batch_size=len(examples), max_length=None, beta=0.1, bf16=False,
        gradient_checkpointing=False, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    layers = "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"
    return {
        "model": model,
        "args": settings,
        "train_dataset": Dataset.from_list(examples),
        "processing_class": processor,
        "peft_config": LoraConfig(r=16, lora_alpha=32, target_modules=rf".*language_model.*\.({layers})"),
    }


def _batch(theirs: dict[str, Tensor], pairs: int, image_token: int) -> PreferenceBatch:
    """The same ids and pictures in the suite's form; TRL's rows are all preferred answers, then all others."""
    ids, answers = theirs["input_ids"], theirs["completion_mask"].bool()
    start = answers.int().argmax(1)
    prefix = int(start.max())
    kept = torch.arange(prefix) < start[:pairs, None]
    length = int(answers.sum(1).max())
    mask = torch.arange(length) < answers.sum(1)[:, None]
    branch = torch.zeros(2 * pairs, length, dtype=ids.dtype)
    branch[mask] = ids[answers]
    is_image = ids[:pairs, :prefix] == image_token
    owner = torch.arange(pairs)[:, None].expand_as(is_image)
    return {
        "input_ids": torch.where(kept, ids[:pairs, :prefix], 0),
        "attention_mask": kept,
        "position_ids": torch.where(kept, torch.arange(prefix), 0),
        "image_of_token": torch.where(is_image, owner, -1),
        "image": theirs["pixel_values"][:pairs],
        "branch_ids": branch.view(2, pairs, length).transpose(0, 1),
        "branch_mask": mask.view(2, pairs, length).transpose(0, 1),
    }


def step(name: str, *sizes: int, setting: Setting | None = None) -> Callable[[], Tensor]:
    """Loss and gradients of a contestant; returns the loss."""
    torch.set_num_threads(1)
    used = setting or Setting(*sizes)

    def work() -> Tensor:
        used.model.zero_grad()
        loss = used.loss(name)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    return work


def run(options: argparse.Namespace) -> list[dict[str, object]]:
    """All measurements."""
    # Children give freed memory back at once, so that none of it hides a peak.
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    sizes = [getattr(options, name) for name in SIZES]
    setting = Setting(*sizes)
    seconds = dict.fromkeys(CONTESTANTS, math.inf)
    losses: dict[str, float] = {}
    gradients: dict[str, Tensor] = {}
    for number in range(options.rounds + 1):
        for name in CONTESTANTS:
            work = step(name, setting=setting)
            start = time.thread_time()
            losses[name] = float(work())
            spent = time.thread_time() - start
            seconds[name] = min(seconds[name], spent if number else math.inf)
            if not number:
                grads = [each.grad for each in setting.model.parameters() if each.grad is not None]
                gradients[name] = torch.cat([each.flatten() for each in grads])
    counts = {name: setting.counted(name) for name in CONTESTANTS}
    theirs = gradients["trl"]
    differences = {name: float((each - theirs).norm() / theirs.norm()) for name, each in gradients.items()}
    del setting, gradients, theirs
    return [
        {
            "contestant": name,
            "seconds": seconds[name] / options.pairs,
            "mebibytes": peak_mebibytes(__file__, "step", name, *sizes) / options.pairs,
            "loss": losses[name],
            "gradient_difference": differences[name],
            **{what: count / options.pairs for what, count in counts[name].items()},
        }
        for name in CONTESTANTS
    ]


def table(records: list[dict[str, Any]]) -> str:
    """The records as Markdown, by pair, with ratios to TRL."""
    lines = [
        "| contestant | s a pair | trl / it | peak memory a pair, MiB | trl / it | tokens a pair | pictures a pair | "
        "loss | gradients: difference to trl |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    trl = records[0]
    for each in records:
        ratios = [trl[key] / max(each[key], 1e-9) for key in ("seconds", "mebibytes")]
        lines.append(
            f"| {each['contestant']} | {each['seconds']:.3f} | {ratios[0]:.1f} | {each['mebibytes']:.0f} | "
            f"{ratios[1]:.1f} | {each['tokens']:.0f} | {each['pictures']:.0f} | {each['loss']:.6f} | "
            f"{each['gradient_difference']:.1e} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    for name, value in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(1)
    records = run(options)
    found = table(records)
    if all(getattr(options, name) == value for name, value in SIZES.items()):
        packages = ", ".join(f"{name} {version(name)}" for name in ("trl", "transformers", "peft", "accelerate"))
        note = (
            f"{options.pairs} pairs; a LLaVA of {options.layers} layers of width {options.width} with a vocabulary of "
            f"{options.vocabulary:,} and a CLIP encoder of {options.layers} layers; pictures of "
            f"{(options.side // PATCH) ** 2} tokens, {options.text} ids of text, sentences of {options.sentence - 2} "
            f"and {options.sentence}; float32, LoRA of rank 16. Loss and gradients; CPU time of one thread, best of "
            f"{options.rounds} rounds, contestants in turn. {packages}.\n\n`rows` has a row for each answer, `shared` "
            "computes beginnings once, `shared, cached` knows the reference's log-probabilities from before. The last "
            "column is the norm of the difference of all gradients by that of TRL's. On a GPU TRL projects supervised "
            "positions alone, as `rows` does."
        )
        write_results(STEM, "Step on preference pairs", note, found, records, describe_run())
    print(found)


if __name__ == "__main__":
    main()
