"""One case of the fault tests: a mutated file, the command that reads it, and whether its end is allowed."""

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import mutations
import numpy as np
from checkpoint_mutations import state_mutations
from fault_seeds import SEEDS, Seed, Written, written
from fault_twins import NoTwin, twin
from forked import ALLOWED, Ended, run
from mutations import Mutated

SEED = int(os.environ.get("SEED", "1"))
HUGE = {
    "png": mutations.huge_png, "jpeg": mutations.huge_jpeg, "tiff": mutations.huge_tiff, "mp4": mutations.huge_boxes,
    "npy": mutations.huge_npy, "vectors": mutations.huge_npy,
}  # fmt: skip
WORDS = (
    "mkv",
    "tiff",
    "npz",
    "pt",
    "h5",
    "mat",
    "ckpt",
    "export",
    "weights",
    "safetensors",
)  # formats of sizes and contents
STRUCTURES = {
    "json": mutations.json_mutations, "csv": mutations.csv_mutations, "yaml": mutations.yaml_mutations,
    "state": state_mutations,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A case by its kind and number."""

    seed: Seed
    number: int

    def __str__(self) -> str:
        return f"{self.seed.kind}-{self.number}"

    def mutated(self, root: Path) -> Mutated:
        """The mutated file: numbers go through all mutations of the kind."""
        draw = random.Random(f"{SEED}/{self}")
        data = (root / self.seed.home / self.seed.file).read_bytes()
        other = draw.choice([seed for seed in SEEDS if seed.kind != self.seed.kind])
        donor = root / other.home / other.file
        makers = [lambda change=change: Mutated(change.__name__, change(data, draw)) for change in mutations.BYTES]
        makers.append(lambda: Mutated("spliced", mutations.spliced(data, donor.read_bytes(), draw)))
        if self.seed.kind in HUGE:
            makers.append(lambda: Mutated("huge", HUGE[self.seed.kind](data, draw)))
        if self.seed.kind in WORDS:
            makers.append(lambda: Mutated("huge_words", mutations.huge_words(data, draw)))
        if self.seed.text:
            structure = list(STRUCTURES[self.seed.text](data, draw))
            # Three of four cases change the structure: bytes seldom leave a text that can be parsed.
            makers = makers if self.number % 4 == 3 else structure
        return makers[(self.number - self.number // 4 if self.seed.text else self.number) % len(makers)]()


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        case: The case.
        how: Name of the mutation.
        end: An end of the command, where `ok` is told apart: same (figures as without the mutation), said (a word or a
            count about the file), right (figures of the twin), silent (none of these); ``nameless`` for a refusal
            that does not name the file.
        done: What the command left.
        why: A line on the verdict.
    """

    case: Case
    how: str
    end: str
    done: Ended
    why: str = ""

    @property
    def fault(self) -> bool:
        """True for an end that is not allowed."""
        return self.end not in ("same", "said", "right", "refused", "check_failed")

    def __str__(self) -> str:
        again = f"again: SEED={SEED} CASE={self.case} pytest -m long -s tests/faults/test_mutated_files.py"
        return f"{self.case} {self.how}: {self.end} {self.why}\n{again}\n{self.done}"


def equal(first: object, second: object) -> bool:
    """True for the same figures; arrays of features, which another codec may round otherwise, to two thousandths."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[name], second[name]) for name in first)
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.shape == second.shape and bool(np.allclose(first, second, rtol=0, atol=2e-3))
    return type(first) is type(second) and first == second


class Bench:
    """Runs cases against the figures of the files as they were.

    Args:
        root: Root of the working folders, as `fault_seeds` wrote them.
        room: Folder for the copies.
    """

    def __init__(self, root: Path, room: Path) -> None:
        self.root, self.room = root, room
        self._usual: dict[tuple[str, ...], tuple[Ended, Written]] = {}

    def usual(self, seed: Seed) -> tuple[Ended, Written]:
        """The end and the figures of a command without a mutation."""
        key = (seed.home, *seed.argv)
        if key not in self._usual:
            done, left = self._run(seed, f"usual-{seed.kind}", None)
            assert done.end == "ok", str(done)
            assert left.figures or seed.argv[0] == "data"
            self._usual[key] = done, left
        return self._usual[key]

    def judge(self, case: Case) -> Outcome:
        """Run one case and say how it ended."""
        seed, made = case.seed, case.mutated(self.root)
        done, left = self._run(seed, str(case), made.contents)
        before, usual = self.usual(seed)
        if done.end not in ALLOWED:
            return Outcome(case, made.how, done.end, done)
        if done.end != "ok":
            told = "\n".join(done.errors) if done.end == "refused" else done.out
            named = any(word in told for word in seed.words())
            return Outcome(case, made.how, done.end if named else "nameless", done)
        if equal(left.figures, usual.figures):
            return Outcome(case, made.how, "same", done)
        new = set((done.out + done.err).splitlines()) - set((before.out + before.err).splitlines())
        if any(word in line for line in new for word in seed.words()):
            return Outcome(case, made.how, "said", done, "by its name")
        if left.notes != usual.notes:
            different = [name for name in left.notes if left.notes[name] != usual.notes.get(name)]
            return Outcome(case, made.how, "said", done, f"counts of {', '.join(different)}")
        if made.plain:
            return Outcome(case, made.how, "silent", done, "a plainly wrong value")
        try:
            again, expected = self._run(seed, f"{case}-twin", made.contents, twinned=True)
        except NoTwin as error:
            return Outcome(case, made.how, "silent", done, f"an independent reader refuses it: {error}")
        same = again.end == "ok" and equal(expected.figures, left.figures)
        return Outcome(case, made.how, "right" if same else "silent", done, "" if same else f"twin: {again}")

    def _run(self, seed: Seed, name: str, contents: bytes | None, twinned: bool = False) -> tuple[Ended, Written]:
        folder = self.room / name
        shutil.copytree(self.root / seed.home, folder)
        try:
            if contents is not None:
                (folder / seed.file).write_bytes(contents)
            if twinned:
                twin(seed.kind, folder / seed.file)
            done = run(seed.argv, folder)
            return done, written(folder) if done.end == "ok" else Written({}, {})
        finally:
            shutil.rmtree(folder)
