"""Base of every prepared set: its recipe, the manifest of its folder, progress, and the outcome of a check."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict, cast

from vision_suite.datasets.files import parse_json
from vision_suite.datasets.prepare.archives import sha256_of
from vision_suite.datasets.prepare.fetch import Archive, building, data_dir, locked
from vision_suite.errors import ConfigError, DataError
from vision_suite.types import Progress as Progress

logger = logging.getLogger(__name__)
MANIFEST = "MANIFEST.json"
ATTRIBUTION = "ATTRIBUTION.txt"
LONGEST = 200  # letters of a name in a message


class ManifestSource(TypedDict):
    """An archive in a manifest, as in `Archive`."""

    client: str
    package: str
    version: str
    sha256: str


class Manifest(TypedDict):
    """Entries that every manifest of a recipe has; ``checksums`` are those of its files by their relative paths."""

    rule_version: int
    sources: list[ManifestSource]
    checksums: dict[str, str]


@dataclass(frozen=True)
class VerifyReport:
    """Outcome of a check.

    Attributes:
        path: Folder that was checked.
        lists: Number of lists compared.
        files: Number of files read.
        problems: One line each; empty if nothing is wrong.
    """

    path: Path
    lists: int
    files: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Options:
    """Choices of the user when a set is prepared.

    Attributes:
        source: Archive, folder of archives or unpacked package to use instead of the registry.
        image_size: Side of the pictures in pixels; None for the set's default, and where it cannot be chosen.
        workers: Number of processes that draw pictures.
        variant: One of the set's variants; None for its first, and where it has none.
    """

    source: Path | None = None
    image_size: int | None = None
    workers: int = 1
    variant: str | None = None


class Recipe(ABC):
    """A set that ``vision-suite data prepare`` makes.

    A module called ``recipe``, or with a name that ends in ``_recipe``, holds an object of a subclass as ``RECIPE``. It
    loads nothing heavy, for ``data list`` imports it: `build` imports what it needs.

    Attributes:
        name: Name on the command line, and of the folder.
        title: Name as its authors write it.
        description: Contents in one line; ``{size}`` stands for the side of its pictures,
            ``{variant}`` for its variant.
        task: Tasks that it can train.
        licence: Licence in one line.
        archives: Archives that it is made of; their names, versions and checksums are in the manifest.
        rule_version: Number that grows whenever the same archives give other files.
        default_size: Side of its pictures in pixels unless another is asked for; None if it cannot be chosen.
        sizes: Sides that can be asked for.
        one_size: Reason that the side cannot be chosen.
        variants: Names of variants, the usual one first; empty if there is only one form.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    task: ClassVar[str]
    licence: ClassVar[str]
    archives: ClassVar[tuple[Archive, ...]] = ()
    rule_version: ClassVar[int] = 1
    default_size: ClassVar[int | None] = None
    sizes: ClassVar[range] = range(0)
    one_size: ClassVar[str] = "no pictures"
    variants: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Write the whole set into the path ``part``, where nothing is yet; `seal` writes the last two files.

        Args:
            part: Folder to create.
            progress: Listener.
            options: Choices of the user; size and variant are never None where they can be chosen.

        Raises:
            DataError: An archive cannot be had, or the set is not the expected one.
        """

    @abstractmethod
    def attribution(self) -> str:
        """Credits that go with the set and with anything published from it."""

    def folder_of(self, image_size: int | None = None, variant: str | None = None) -> Path:
        """The folder of the set, prepared or not.

        Args:
            image_size: Side of its pictures; None for the default.
            variant: One of the variants; None for the first.
        """
        size = self.default_size if image_size is None else image_size
        name = self.name if variant in (None, *self.variants[:1]) else f"{self.name}-{variant}"
        return data_dir() / (name if size is None else f"{name}-{size}")

    def prepare(self, progress: Progress, options: Options) -> Path:
        """Build the set unless it is there, and return its folder; other processes wait for the one that works.

        Raises:
            ConfigError: The size is out of range, or there is no such variant.
            DataError: As `build`.
        """
        size = self.default_size if options.image_size is None else options.image_size
        if size is not None and size not in self.sizes:
            smallest, largest = self.sizes[0], self.sizes[-1]
            raise ConfigError(f"image_size={size}: choose a size from {smallest} to {largest} pixels")
        variant = options.variant if options.variant is not None else next(iter(self.variants), None)
        if variant is not None and variant not in self.variants:
            known = f"choose {', '.join(self.variants)}" if self.variants else "it has none"
            raise ConfigError(f"{self.name} has no variant {variant!r}: {known}")
        chosen = Options(options.source, size, options.workers, variant)
        return prepare_once(
            self.folder_of(size, variant), self.why_not_ready, lambda part: self.build(part, progress, chosen)
        )

    def why_not_ready(self, folder: Path) -> str | None:
        """The reason that a folder must be prepared, by its manifest and the files' presence; None if there is none."""
        try:
            manifest = self.manifest(folder)
        except DataError as error:
            return str(error)
        return self.outdated(manifest) or missing_file(folder, manifest)

    def verify(self, folder: Path, progress: Progress) -> VerifyReport:
        """Recompute the checksum of every file of a prepared folder.

        Raises:
            DataError: There is no manifest, or it cannot be read.
        """
        manifest = self.manifest(folder)
        reason = self.outdated(manifest)
        problems = [] if reason is None else [f"{MANIFEST}: {reason}"]
        problems += changed_files(folder, manifest, progress)
        return VerifyReport(folder, 1, len(manifest["checksums"]), tuple(problems))

    def outdated(self, manifest: Manifest) -> str | None:
        """The reason that a folder with this manifest is not what the recipe would build now; None if it is."""
        sources = [source_of(archive) for archive in self.archives]
        if manifest["rule_version"] != self.rule_version or manifest["sources"] != sources:
            return "made from another archive or by an older rule"
        return None

    def manifest(self, folder: Path) -> Manifest:
        """The manifest that `seal` wrote.

        Raises:
            DataError: There is none, or it cannot be read.
        """
        command = f"vision-suite data prepare {self.name}"
        return cast("Manifest", load_manifest(folder, {"rule_version", "sources", "checksums"}, command))

    def seal(self, part: Path, facts: Mapping[str, object]) -> None:
        """Write the credits and the manifest, with the checksum of every file, of an otherwise complete folder.

        Args:
            part: Folder.
            facts: Further entries of the manifest, such as counts; ``sources``, ``licence`` and ``attribution``
                replace the recipe's.
        """
        credits = facts.get("attribution", self.attribution())
        (part / ATTRIBUTION).write_text(str(credits), encoding="utf-8")
        files = sorted(path for path in part.rglob("*") if path.is_file())
        manifest = {
            "name": self.title,
            "rule_version": self.rule_version,
            "sources": [source_of(archive) for archive in self.archives],
            **facts,
            "licence": facts.get("licence", self.licence),
            "attribution": credits,
            "checksums": {str(path.relative_to(part)): sha256_of(path) for path in files},
        }
        (part / MANIFEST).write_text(as_json(manifest), encoding="utf-8")


def as_json(record: Mapping[str, object]) -> str:
    """A manifest as text."""
    return json.dumps(record, indent=1)


def load_manifest(folder: Path, keys: set[str], command: str) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Args:
        folder: Prepared folder.
        keys: Entries that it must hold.
        command: Command that prepares the set.

    Raises:
        DataError: There is none, or it lacks a key.
    """
    path = folder / MANIFEST
    try:
        manifest = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or not keys <= set(manifest):
            raise ValueError("keys are missing")
        checksums = manifest.get("checksums", {})
        if not isinstance(checksums, dict) or not all(isinstance(each, str) for each in checksums.values()):
            raise ValueError("checksums are not text by file")
    except FileNotFoundError:
        raise DataError(f"{folder} holds no {MANIFEST}: run `{command}`") from None
    except ValueError as error:
        raise DataError(f"{path} cannot be read ({error}): delete the folder and prepare it again") from None
    return dict(manifest)


def source_of(archive: Archive) -> ManifestSource:
    """The entry of an archive in a manifest."""
    return {"client": archive.client, "package": archive.name, "version": archive.version, "sha256": archive.sha256}


def prepare_once(target: Path, why_not_ready: Callable[[Path], str | None], build: Callable[[Path], None]) -> Path:
    """Build a set unless it is there; other processes wait for the one that works, and see it whole or not at all.

    Args:
        target: Prepared folder.
        why_not_ready: Function that returns the reason to build it, None if there is none.
        build: Function that writes the set into an empty path.
    """
    if why_not_ready(target) is None:
        return target
    with locked(target):
        reason = why_not_ready(target)
        if reason is None:
            return target
        if target.exists():
            logger.warning("%s: %s: preparing it again", target, reason)
        with building(target) as part:
            build(part)
    return target


def missing_file(folder: Path, manifest: Manifest) -> str | None:
    """A line on the first file of a manifest's ``checksums`` that is not there; None if all are."""
    missing = [name for name in manifest["checksums"] if not is_file(folder / name)]
    return f"{_shown(missing[0])} is missing" if missing else None


def _shown(name: str) -> str:
    """A name of a file as it can be printed."""
    return name[:LONGEST].encode(errors="backslashreplace").decode()


def is_file(path: Path) -> bool:
    """True for a file; false also for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def changed_files(folder: Path, manifest: Manifest, progress: Progress) -> list[str]:
    """A line for each file of a manifest's ``checksums`` that is missing or has another checksum; reads them whole."""
    checksums = manifest["checksums"]
    problems = []
    for done, (name, expected) in enumerate(checksums.items()):
        if not is_file(folder / name) or sha256_of(folder / name) != expected:
            problems.append(f"{_shown(name)}: missing or changed")
        progress("checking", done + 1, len(checksums))
    return problems


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Progress]:
    """One bar per stage on the error stream; nothing when quiet."""
    if quiet:
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    with Bars(console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
