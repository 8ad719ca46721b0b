"""Package metadata. torch is never imported here, and compiling the attention operators is optional."""

import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, find_namespace_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "([^"]+)"', (ROOT / "vision_suite" / "__init__.py").read_text(encoding="utf-8"))
assert VERSION is not None

BASE = [
    "torch>=2.11",
    "torchvision>=0.26",
    "pytorch-lightning>=2.6,<2.7",
    "jsonargparse[signatures]>=4.40,<5",
    "timm>=1.0.20",
    "safetensors>=0.4",
    "torchmetrics>=1.8",
    "wandb>=0.20",
    "tensorboard>=2.16",
    "rich>=13",
    "matplotlib>=3.8",
    "numpy>=1.26",
    "scipy>=1.11",
    "pillow>=10",
    "h5py>=3.10",
    "pyarrow>=15",
    "PyYAML>=6",
    "Jinja2>=3.1",
    "cryptography>=42",
    "huggingface_hub>=0.30",
    "filelock>=3.13",
    "lazy-loader>=0.4",
    "platformdirs>=4",
    "resvg-py==0.5.0",
    "scikit-image>=0.24",
    "scikit-learn>=1.4",
    "av>=14",
]
EXPORT = ["onnx>=1.16", "onnxscript>=0.3", "onnxruntime>=1.18"]
CLIP = ["open_clip_torch>=2.24"]
LANGUAGE = ["transformers>=5.20,<6", "accelerate>=1", "gguf>=0.10", "peft>=0.17"]
SENTINEL = ["spacy>=3.8.18,<3.9", "inflect>=7.5"]
SWEEPS = ["optuna>=5,<6"]
RAY = ["ray[data,tune]>=2.51"]
# Only what benchmarks compare with; `datasets` is Hugging Face's package.
BENCH = ["trl==1.16.0", "datasets>=4.7"]
DEV = [
    "pytest>=8",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "mypy>=2.4",
    "ruff>=0.17",
    "types-PyYAML",
    "multimatch-gaze==0.1.3",
    "rapidfuzz>=3.9",
    "setuptools>=77",
]

SOURCES = ROOT / "cuda_ext" / "build.py"


class BuildOperators(build_ext):
    """Compiles the attention operators; a machine that cannot gets the pure-Python suite and one line."""

    def run(self) -> None:
        """Build, or say why not."""
        self.made: list[Path] = []
        builder = runpy.run_path(str(SOURCES))
        in_place = self.inplace or getattr(self, "editable_mode", False)
        folder = (ROOT if in_place else Path(self.build_lib)) / "vision_suite"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.made = builder["build_in_place"](folder)
        except builder["BuildError"] as error:
            print(f"attention operators were not built: {error}", file=sys.stderr)

    def get_outputs(self) -> list[str]:
        """Files that an installer copies."""
        return [str(path) for path in self.made]


def operators() -> list[Extension]:
    """The extension where it can be built; under build isolation torch is absent and the suite stays pure Python."""
    if not SOURCES.exists() or find_spec("torch") is None:
        return []
    return [Extension("vision_suite._C", sources=[], py_limited_api=True, optional=True)]


setup(
    name="vision-suite",
    version=VERSION.group(1),
    description="Train, evaluate and serve attention-based vision and multimodal models",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_namespace_packages(include=["vision_suite", "vision_suite.*"]),
    package_dir={
        # Explicit even though the links say the same: a checkout without symbolic links still builds the right wheel.
        "vision_suite.datasets": "datasets",
        "vision_suite.lit_modules": "lit_modules",
        "vision_suite.configs": "configs",
    },
    package_data={
        "vision_suite": ["py.typed"],
        "vision_suite.configs": ["**/*.yaml"],
        "vision_suite.datasets": ["**/*.yaml"],
        "vision_suite.hub": ["entries/**/*", "pins/*"],
        "vision_suite.report": ["page.html", "page.css", "page.js"],
        "vision_suite.text": ["*.txt"],
    },
    ext_modules=operators(),
    cmdclass={"build_ext": BuildOperators},
    install_requires=BASE,
    extras_require={
        "export": EXPORT,
        "clip": CLIP,
        "language": LANGUAGE,
        "sentinel": SENTINEL,
        "sweeps": SWEEPS,
        "ray": RAY,
        "bench": BENCH + LANGUAGE,
        "dev": DEV + EXPORT + LANGUAGE + SENTINEL + SWEEPS + RAY,
    },
    entry_points={
        "console_scripts": [
            "vision-suite = vision_suite.cli:main",
            "lightning = vision_suite.cli.lightning_script:main",
        ]
    },
)
