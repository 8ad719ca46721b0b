"""Compile the CUDA kernels and inspect the result, which needs no GPU: ``python cuda_ext/inspect_cuda.py [REPORT.md]``.

Fails if an architecture is missing, a kernel spills more than a little or asks for more registers than a block may
have, the file is too large, tensor cores are not used, or the library depends on anything but torch's stable C
interface. Without nvcc it prints a line and succeeds. A report has a JSON file beside it.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import build

FATBIN_MAGIC, PTX, ELF = 0xBA55ED50, 1, 2
MAX_SPILL = 256  # bytes per thread; a few words around a loop cost nothing that can be measured
MAX_FILE = 12 * 2**20
REGISTERS = 65536  # of one multiprocessor, and so of one block


@dataclass(frozen=True)
class Kernel:
    """Registers per thread and spilled bytes (stores and loads) of one kernel for one architecture."""

    name: str
    arch: str
    registers: int
    spilled: int

    @property
    def threads(self) -> int:
        """Threads of one block, as the engines define them."""
        return 128 if "Mma<" in self.name else 256


def contents(library: bytes) -> set[tuple[str, int]]:
    """Code objects of the file: ("elf" or "ptx", architecture such as 80)."""
    found, at = set(), 0
    while (at := library.find(struct.pack("<I", FATBIN_MAGIC), at)) >= 0:
        _, _, header, size = struct.unpack_from("<IHHQ", library, at)
        entry, end = at + header, at + header + size
        while entry < end:
            kind, _, length, payload = struct.unpack_from("<HHIQ", library, entry)
            (arch,) = struct.unpack_from("<I", library, entry + 28)
            found.add(({PTX: "ptx", ELF: "elf"}.get(kind, str(kind)), arch))
            entry += length + payload
        at = end
    return found


def kernels(report: str) -> list[Kernel]:
    """All kernels of the assembler's report."""
    pattern = re.compile(
        r"Compiling entry function '(\S+)' for '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers", re.S
    )  # fmt: skip
    rows = pattern.findall(report)
    plain = subprocess.run(
        ["c++filt"], input="\n".join(row[0] for row in rows), capture_output=True, text=True, check=True
    )
    spaces = re.compile(r"vision_suite::|\(anonymous namespace\)::|^void ")
    names = [re.sub(r"\(\w+\)$", "", spaces.sub("", line)).replace("> >", ">>") for line in plain.stdout.splitlines()]
    return [
        Kernel(name, arch, int(registers), int(stores) + int(loads))
        for name, (_, arch, stores, loads, registers) in zip(names, rows, strict=True)
    ]


def instructions(path: Path) -> dict[str, int] | None:
    """Counts of some instructions in the machine code, or None without a disassembler (Triton brings one)."""
    tool, triton = shutil.which("cuobjdump"), find_spec("triton")
    if tool is None and triton is not None and triton.origin is not None:
        beside = Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        tool = str(beside) if beside.exists() else None
    if tool is None:
        return None
    shown = subprocess.run([tool, "-sass", str(path)], capture_output=True, text=True, check=False)
    names = ("HMMA.16816.F32.BF16", "HMMA.16816.F32 ", "LDGSTS", "LDSM", "MUFU.EX2", "RED", "ATOM")
    return {name.strip(): len(re.findall(rf"\b{re.escape(name)}", shown.stdout)) for name in names}


def problems(path: Path, report: str) -> list[str]:
    """All findings that fail the inspection."""
    wrong = []
    library = path.read_bytes()
    missing = {("elf", 80), ("elf", 90), ("ptx", 90)} - contents(library)
    if missing:
        wrong.append(f"the library lacks {sorted(missing)}")
    if len(library) > MAX_FILE:
        wrong.append(f"the library has {len(library)} bytes, more than {MAX_FILE}")
    found = kernels(report)
    if not found:
        wrong.append("the assembler reported on no kernel")
    wrong += [f"{k.name} ({k.arch}) spills {k.spilled} bytes" for k in found if k.spilled > MAX_SPILL]
    wrong += [f"{k.name} ({k.arch}) cannot start" for k in found if k.registers * k.threads > REGISTERS]
    used = instructions(path)
    if used is not None:
        wrong += [f"the machine code has no {name}" for name in list(used)[:5] if not used[name]]
        wrong += [
            f"the machine code has {used[name]} {name}: sums would depend on timing"
            for name in ("RED", "ATOM")
            if used[name]
        ]
    symbols = subprocess.run(
        ["nm", "-D", "-C", "--undefined-only", str(path)], capture_output=True, text=True, check=True
    )
    wrong += [
        f"needs {line.split()[-1]}" for line in symbols.stdout.splitlines() if re.search(r"\b(c10|at|torch)::", line)
    ]
    return wrong


def page(path: Path, report: str, tools: build.Toolchain) -> str:
    """The report as Markdown."""
    found = kernels(report)
    held = ", ".join(f"{kind} {arch}" for kind, arch in sorted(contents(path.read_bytes())))
    used = instructions(path)
    lines = [
        "# Contents of the CUDA library", "",
        "The compiled kernels, and the assembler's report on them. The kernels have also been emulated on a CPU,",
        "thread by thread (`make emulate`), and have run on a GPU ([times](attention_cuda.md)).", "",
        f"`python cuda_ext/inspect_cuda.py`, {build.version_line(tools.nvcc or '')}, torch {tools.torch_version}: "
        f"{path.stat().st_size / 2**20:.1f} MiB with {held}.", "",
        "Machine code: " + (
            "no disassembler was found." if used is None else ", ".join(f"{n} x {name}" for name, n in used.items())
            + " (RED and ATOM would be atomics; there are none)."
        ), "",
        "Registers per thread and spilled bytes (stores + loads), sm_80 / sm_90:", "",
        "| kernel | registers | spilled |", "|---|---|---|",
    ]  # fmt: skip
    by_name: dict[str, dict[str, Kernel]] = {}
    for kernel in found:
        by_name.setdefault(kernel.name, {})[kernel.arch] = kernel
    for name in sorted(by_name):
        of = [by_name[name][arch] for arch in ("sm_80", "sm_90") if arch in by_name[name]]
        lines.append(
            f"| `{name}` | {' / '.join(str(k.registers) for k in of)} | {' / '.join(str(k.spilled) for k in of)} |"
        )
    return "\n".join(lines) + "\n"


def records(path: Path, report: str, tools: build.Toolchain) -> list[dict[str, object]]:
    """The facts of the page for programs: the library, its instructions, then each kernel for each architecture."""
    found: list[dict[str, object]] = [
        {
            "part": "library", "command": "python cuda_ext/inspect_cuda.py",
            "compiler": build.version_line(tools.nvcc or ""), "torch": tools.torch_version,
            "mebibytes": round(path.stat().st_size / 2**20, 1),
            "code": [f"{kind} {arch}" for kind, arch in sorted(contents(path.read_bytes()))],
        }
    ]  # fmt: skip
    used = instructions(path) or {}
    found += [{"part": "instruction", "name": name, "count": count} for name, count in used.items()]
    for kernel in sorted(kernels(report), key=lambda kernel: (kernel.name, kernel.arch)):
        found.append(
            {"part": "kernel", "name": kernel.name, "arch": kernel.arch, "registers": kernel.registers,
             "spilled_bytes": kernel.spilled}
        )  # fmt: skip
    return found


def as_lines(found: list[dict[str, object]]) -> str:
    """Records as a JSON list, one a line."""
    return "[\n" + ",\n".join("  " + json.dumps(record) for record in found) + "\n]\n"


def main() -> int:
    """Build, inspect and print the findings."""
    try:
        tools = build.find_toolchain()
        if tools.nvcc is None:
            print("CUDA kernels not inspected: no nvcc here")
            return 0
        with tempfile.TemporaryDirectory() as folder:
            path, report = build.build_cuda(tools, Path(folder), Path(folder))
            wrong = problems(path, report)
            if len(sys.argv) > 1:
                target = Path(sys.argv[1])
                target.write_text(page(path, report, tools), encoding="utf-8")
                target.with_suffix(".json").write_text(as_lines(records(path, report, tools)), encoding="utf-8")
            found = kernels(report)
            print(
                f"CUDA library: {path.stat().st_size / 2**20:.1f} MiB, {sorted(contents(path.read_bytes()))}, "
                f"{len(found)} kernels, at most {max((k.registers for k in found), default=0)} registers and "
                f"{max((k.spilled for k in found), default=0)} spilled bytes"
            )
    except build.BuildError as error:
        wrong = [str(error)]
    for line in wrong:
        print(f"CUDA library: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
