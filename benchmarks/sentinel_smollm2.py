"""How far C-DPO with LoRA cures SmolLM2-135M of objects that it makes up: the chain of `sentinel_effect`, one seed.

The tower of `sentinel_effect` and a projector that learns the names come first; then all weights learn to describe
Emoji-Scenes whose things of one kind come together (chance 0.8). The model's own sentences are mined with true labels,
and LoRA learns from the pairs.

Run: python benchmarks/sentinel_smollm2.py [--rates all=1e-4,5e-4] [--search]
Writes docs/results/sentinel_smollm2.md, .json and .png.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sentinel_effect import Bench, arguments, measure
from sentinel_effect_page import write_page
from suite_calls import ROOT

STEM = ROOT / "docs" / "results" / "sentinel_smollm2"
NOTE = (
    "SmolLM2-135M as its package brings it, with the vision tower of sentinel/scenes_sft. Emoji-Scenes is a stand-in "
    "drawn by a rule: these figures say nothing about any published table. `made up` is CHAIR_i, `captions with it` "
    "CHAIR_s, `found` the share of a picture's objects that its caption names. `against` are 200 scenes whose things "
    "never share a kind, `prior` 200 in which they do with chance 0.8, as in training; both show the designs of the "
    "training. Mining scenes have the chances 0.4 and 0.6. `change` is relative to the model before tuning."
)


class LanguageBench(Bench):
    """The steps with a language model in place of a small one."""

    tuning = "sentinel/smollm2_lora"
    batch = 16

    def common(self, place: Path) -> list[str]:
        """Flags of every command."""
        return [*super().common(place), "--trainer.precision=32-true"]

    def before(self, seed: int) -> Path:
        """Model of a seed before tuning: names by the projector, then captions by all weights."""
        own = [f"--seed_everything={seed}", *self.model(seed), "--data.validate_on=null"]
        tower = ["--model.tower.kind=presence", "--model.tower.pool=grid4", "--data.image_tokens=17"]
        names = self.fit(f"names_{seed}", "wings/smollm2_align", [*own, *tower])
        return self.fit(f"before_{seed}", "sentinel/smollm2_sft", [*own, f"--init_from={names}"])


def main() -> None:
    """Measure SmolLM2-135M."""
    parser = arguments(__doc__)
    parser.set_defaults(
        seeds=[1], methods=["C-DPO"], rates=["all=1e-4,5e-4"], scenes=500, work=ROOT / "runs" / "sentinel_smollm2"
    )
    options = parser.parse_args()
    title = "What SENTINEL cures SmolLM2-135M of"
    measure(LanguageBench(options), options, STEM, partial(write_page, title=title, note=NOTE))


if __name__ == "__main__":
    main()
