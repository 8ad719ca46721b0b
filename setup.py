"""Package metadata. torch is never imported here: the base package is pure Python."""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "([^"]+)"', (ROOT / "vision_suite" / "__init__.py").read_text(encoding="utf-8"))
assert VERSION is not None

BASE = [
    "torch>=2.11",
    "torchvision>=0.26",
    "pytorch-lightning>=2.6,<2.7",
    "jsonargparse[signatures]>=4.40,<5",
    "timm>=1.0.20",
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
    "filelock>=3.13",
    "platformdirs>=4",
    "resvg-py==0.5.0",
    "scikit-image>=0.24",
]
EXPORT = ["onnx>=1.16", "onnxscript>=0.3", "onnxruntime>=1.18"]
DEV = [
    "pytest>=8",
    "hypothesis>=6.100",
    "scikit-learn>=1.4",
    "mypy>=2.4",
    "ruff>=0.17",
    "types-PyYAML",
    "setuptools>=77",
]

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
        "vision_suite.datasets": ["*.yaml"],
    },
    install_requires=BASE,
    extras_require={"export": EXPORT, "dev": DEV + EXPORT},
    entry_points={
        "console_scripts": [
            "vision-suite = vision_suite.cli:main",
            "lightning = vision_suite.cli.lightning_script:main",
        ]
    },
)
