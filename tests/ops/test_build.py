"""Building the operators: what is said where something is missing, and what the CUDA inspection can tell apart."""

import importlib.util
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILDER = ROOT / "cuda_ext" / "build.py"


def build(folder, python=(sys.executable,), **environment):
    """``cuda_ext/build.py FOLDER`` in a process of its own."""
    return subprocess.run(
        [*python, str(BUILDER), str(folder)], env={**os.environ, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def load(name):
    """A module of cuda_ext, which is no package."""
    sys.path.insert(0, str(BUILDER.parent))
    try:
        spec = importlib.util.spec_from_file_location(name, BUILDER.with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(BUILDER.parent))


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"CXX": "/nowhere/g++"}, "no C++ compiler found: install g++"),
        ({"VISION_SUITE_BUILD": "some"}, "VISION_SUITE_BUILD=some is not known: give auto, cpu, cuda or none"),
        ({"VISION_SUITE_BUILD": "none"}, "attention runs on PyTorch alone"),
    ],
)
def test_what_is_missing_is_named_in_one_line(tmp_path, environment, text):
    done = build(tmp_path, **environment)
    assert done.returncode == 1
    assert done.stderr.startswith("attention operators were not built: ")
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_torch_it_says_so(tmp_path):
    # -S leaves out site-packages, as an isolated build does.
    done = build(tmp_path, python=(sys.executable, "-S", "-I"))
    assert done.returncode == 1
    assert "torch is not importable here" in done.stderr
    assert "--no-build-isolation" in done.stderr


def test_a_failing_compiler_leaves_nothing_behind(tmp_path):
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho 'file.cpp:1: error: I am broken' >&2\nexit 1\n")
    compiler.chmod(0o755)
    target = tmp_path / "target"
    target.mkdir()
    done = build(target, CXX=str(compiler))
    assert done.returncode == 1
    assert "error: I am broken" in done.stderr
    assert not list(target.iterdir())


@pytest.mark.parametrize(("wanted", "driver", "compiled"), [("auto", False, 0), ("auto", True, 1), ("cuda", False, 1)])
def test_cuda_kernels_are_compiled_where_a_driver_is(tmp_path, monkeypatch, capsys, wanted, driver, compiled):
    builder = load("build")
    tools = builder.Toolchain(tmp_path, "2.15.0", "13.2", "g++", "nvcc")
    made = {"cpu": tmp_path / "_C.so", "cuda": tmp_path / "_C_cuda.so"}
    monkeypatch.setenv("VISION_SUITE_BUILD", wanted)
    monkeypatch.setattr(builder, "find_toolchain", lambda: tools)
    monkeypatch.setattr(builder, "cuda_fits", lambda tools: True)
    monkeypatch.setattr(builder, "build_cpu", lambda *_: made["cpu"])
    monkeypatch.setattr(builder, "build_cuda", lambda *_: (made["cuda"], ""))
    marker = tmp_path / "driver"
    if driver:
        marker.touch()
    monkeypatch.setattr(builder, "DRIVERS", (str(marker),))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert builder.build_in_place(tmp_path) == [made["cpu"], made["cuda"]][: 1 + compiled]
    assert ("VISION_SUITE_BUILD=cuda compiles them" in capsys.readouterr().out) is not bool(compiled)


def test_cuda_asked_for_but_without_nvcc(tmp_path):
    builder = load("build")
    tools = builder.Toolchain(tmp_path, "2.15.0", "13.2", "g++", None)
    with pytest.raises(builder.BuildError, match="no nvcc found: install the CUDA toolkit, or set CUDA_HOME"):
        builder.build_cuda(tools, tmp_path, tmp_path)
    assert builder.cuda_arch_flags("8.0;9.0+PTX") == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_90,code=compute_90",
    ]


def test_the_inspection_reads_what_a_library_holds_and_finds_spills(tmp_path):
    load("build")
    inspect = load("inspect_cuda")

    def entry(kind, arch, size):
        return struct.pack("<HHIQIIII", kind, 257, 64, size, 0, 64, 0, arch) + bytes(32 + size)

    body = entry(2, 80, 24) + entry(1, 90, 8)
    library = b"before" + struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body + b"after"
    assert inspect.contents(library) == {("elf", 80), ("ptx", 90)}
    report = (
        "ptxas info    : Compiling entry function '_Z6kernelv' for 'sm_80'\n"
        "ptxas info    : Function properties for _Z6kernelv\n"
        "    0 bytes stack frame, 300 bytes spill stores, 20 bytes spill loads\n"
        "ptxas info    : Used 168 registers, 400 bytes cmem[0]\n"
    )
    (kernel,) = inspect.kernels(report)
    assert (kernel.arch, kernel.registers, kernel.spilled) == ("sm_80", 168, 320)
    path = tmp_path / "library.so"
    path.write_bytes(Path(sys.executable).resolve().read_bytes() + library)  # a file nm can read
    wrong = inspect.problems(path, report)
    assert any("lacks [('elf', 90)]" in line for line in wrong)
    assert any("spills 320 bytes" in line for line in wrong)


def test_the_page_of_the_cuda_library_and_its_twin_say_the_same():
    load("build")
    inspect = load("inspect_cuda")
    stem = Path(__file__).resolve().parents[2] / "docs" / "results" / "cuda_build"
    text = stem.with_suffix(".json").read_text(encoding="utf-8")
    records = json.loads(text)
    assert inspect.as_lines(records) == text
    page = stem.with_suffix(".md").read_text(encoding="utf-8")
    kernels = [record for record in records if record["part"] == "kernel"]
    by_name = {}
    for kernel in kernels:
        by_name.setdefault(kernel["name"], []).append(kernel)
    assert len(by_name) == page.count("| `")
    for name, both in by_name.items():
        cells = [" / ".join(str(each[key]) for each in both) for key in ("registers", "spilled_bytes")]
        assert f"| `{name}` | {cells[0]} | {cells[1]} |" in page
    for record in records:
        assert record["part"] != "instruction" or f"{record['count']} x {record['name']}" in page
