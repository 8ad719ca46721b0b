"""Emoji-ReID built and checked: the same emoji drawn by 8 designs, in Market layout (re-ID) and CUB layout (classes).

Identity = emoji, camera = design. A stand-in made from freely licensed drawings: it shows that code learns and
generalises to unseen identities, and says nothing about any published table.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_suite.datasets.emoji.draw import Drawing, Drawn, draw_all, drawings
from vision_suite.datasets.emoji.plan import Plan
from vision_suite.datasets.emoji.rules import (
    PROTOCOLS,
    PROTOCOLS_C,
    Picture,
    closed_task,
    market_splits,
    names_digest,
    shared_names,
    split_of,
    subgroup_task,
    subgroups_by_name,
    without_gendered,
    without_twins,
)
from vision_suite.datasets.emoji.write import (
    Linker,
    count_files,
    digest_of_folder,
    list_digest,
    write_cub,
    write_market,
)
from vision_suite.datasets.prepare.archives import sha256_of
from vision_suite.datasets.prepare.base import (
    ATTRIBUTION,
    MANIFEST,
    Options,
    Progress,
    VerifyReport,
    as_json,
    load_manifest,
)
from vision_suite.datasets.prepare.fetch import fetch_members
from vision_suite.errors import DataError

PICTURES = "pictures"
LONGEST_NAME = 255  # bytes


def why_not_ready(folder: Path, plan: Plan) -> str | None:
    """The reason that a folder must be prepared, by its manifest and file counts; None if there is none.

    No picture is read.
    """
    try:
        manifest = _load(folder)
    except DataError as error:
        return str(error)
    if manifest["rule_version"] != plan.rule_version or manifest["sources"] != plan.sources():
        return "made from other archives or by an older rule"
    for part, record in manifest["parts"].items():
        if part != PICTURES and not (folder / part / MANIFEST).is_file():
            return f"{part}/{MANIFEST} is missing"
        for name, checksum in record["checksums"].items():
            path = folder / part / name
            found = count_files(path) if path.is_dir() else int(path.is_file())
            if found != checksum["files"]:
                return f"{part}/{name} has {found} files instead of {checksum['files']}"
    return None


def verify(folder: Path, plan: Plan, progress: Progress) -> VerifyReport:
    """Recompute every count and checksum of a prepared folder from the files themselves.

    Raises:
        DataError: There is no manifest, or it cannot be read.
    """
    manifest = _load(folder)
    problems = []
    if manifest["sources"] != plan.sources() or manifest["rule_version"] != plan.rule_version:
        problems.append(f"{MANIFEST}: made from other archives or by an older rule")
    if manifest["identities"]["sha256"] != plan.expected.sha256:
        problems.append(f"{MANIFEST}: the identities are not the expected ones")
    for name, sha in manifest["tables"].items():
        if not (folder / name).is_file() or sha256_of(folder / name) != sha:
            problems.append(f"{name}: missing or changed")
    known: dict[tuple[int, int], str] = {}
    files = lists = 0
    total = sum(len(record["checksums"]) for record in manifest["parts"].values())
    for part, record in manifest["parts"].items():
        own = folder / part / MANIFEST
        if part != PICTURES and (not own.is_file() or own.read_bytes() != as_json(record).encode()):
            problems.append(f"{part}/{MANIFEST}: missing or different from what {MANIFEST} says")
        for name, expected in record["checksums"].items():
            path = folder / part / name
            if path.is_dir():
                found = digest_of_folder(path, known)
            else:
                found = {"files": 1, "sha256": sha256_of(path)} if path.is_file() else {"files": 0, "sha256": ""}
            if found["files"] != expected["files"]:
                problems.append(f"{part}/{name}: {found['files']} files instead of {expected['files']}")
            elif found != expected:
                problems.append(f"{part}/{name}: a file was changed or renamed (the list's sha256 differs)")
            files += int(found["files"])
            lists += 1
            progress("checking", lists, total)
    return VerifyReport(folder, lists, files, tuple(problems))


def _load(folder: Path) -> dict[str, Any]:
    keys = {"rule_version", "sources", "identities", "tables", "parts"}
    manifest = load_manifest(folder, keys, "vision-suite data prepare emoji-reid")
    try:
        names = [*manifest["tables"], *manifest["parts"]]
        for record in manifest["parts"].values():
            names += record["checksums"]
            if not all({"files", "sha256"} <= set(expected) for expected in record["checksums"].values()):
                raise ValueError("a checksum lacks files or sha256")
        if any("\0" in name or len(name.encode()) > LONGEST_NAME for name in names):
            raise ValueError("a name that no file has")
        manifest["identities"]["sha256"]
        manifest["tables"].items()
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder / MANIFEST} cannot be read ({error!r}): delete the folder and prepare it again"
        ) from None
    return manifest


def build(part: Path, plan: Plan, progress: Progress, options: Options) -> None:
    """Write the whole set into the empty path ``part``.

    Args:
        part: Folder to create.
        plan: Archives and expected numbers.
        progress: Listener.
        options: Choices of the user; the picture size must be given.

    Raises:
        DataError: An archive cannot be had, or the identities are not the expected ones.
    """
    assert options.image_size is not None
    found = draw_identities(part, plan, progress, options)
    _write_parts(part, plan, progress, found.pictures, found.drawn, found.subgroups, options.image_size)


def fetch_tables(plan: Plan, progress: Progress, source: Path | None) -> tuple[list[Any], dict[str, Any]]:
    """The table ``icons.json`` of each design, and the tables of labels by member.

    Args:
        plan: Archives.
        progress: Listener.
        source: Archives or a folder of them, to use instead of the registry.

    Raises:
        DataError: An archive cannot be had.
    """
    tables = []
    for done, origin in enumerate(plan.origins):
        progress("fetching", done, len(plan.origins))
        members = fetch_members(origin.archive, source)
        tables.append({name: json.loads(content) for name, content in members.items()})
    progress("fetching", len(plan.origins), len(plan.origins))
    return [table["package/icons.json"] for table in tables[:-1]], tables[-1]


@dataclass(frozen=True)
class Identities:
    """The identities of a plan, with their pictures.

    Attributes:
        names: Names in order.
        pictures: Every picture.
        drawn: Its file, by camera and name.
        subgroups: Subgroup of each name that has one.
        icons: The table ``icons.json`` of each design.
        labels: Emojibase's table of emoji.
    """

    names: list[str]
    pictures: list[Picture]
    drawn: dict[tuple[int, str], Drawn]
    subgroups: dict[str, str]
    icons: list[Any]
    labels: list[Any]


def draw_identities(part: Path, plan: Plan, progress: Progress, options: Options) -> Identities:
    """Apply the identity rule and write ``pictures/<design>/<name>.png`` below the empty path ``part``.

    Args:
        part: Folder to create.
        plan: Archives and expected numbers.
        progress: Listener.
        options: Choices of the user; the picture size must be given.

    Raises:
        DataError: As `build`.
    """
    assert options.image_size is not None
    icons, labels = fetch_tables(plan, progress, options.source)
    subgroups = subgroups_by_name(labels["package/en/data.json"], labels["package/meta/groups.json"]["subgroups"])

    neutral = shared_names([table["icons"] for table in icons[: plan.core_designs]])
    candidates = without_gendered(neutral)
    jobs: list[Drawing] = []
    for design, table in zip(plan.designs, icons, strict=True):
        jobs += drawings(design.key, table, candidates)
    part.mkdir(parents=True)
    size, workers = options.image_size, options.workers
    masters = draw_all(jobs, part / PICTURES, size, workers, lambda n, total: progress("drawing", n, total))

    rasters = [{d.name: d.raster for d in masters if d.design == o.key} for o in plan.designs[: plan.core_designs]]
    names = without_twins(candidates, rasters)
    _check_identities(plan, neutral, candidates, names)
    camera_of = {design.key: camera for camera, design in enumerate(plan.designs)}
    identity_of = {name: identity for identity, name in enumerate(names, start=1)}
    drawn: dict[tuple[int, str], Drawn] = {}
    for entry in masters:
        if entry.name in identity_of:
            drawn[camera_of[entry.design], entry.name] = entry
        else:
            entry.path.unlink()
    pictures = [Picture(name, identity_of[name], camera) for camera, name in sorted(drawn, key=lambda k: (k[1], k[0]))]
    _check_pictures(plan, pictures)
    return Identities(names, pictures, drawn, subgroups, icons, labels["package/en/data.json"])


def _write_parts(
    part: Path,
    plan: Plan,
    progress: Progress,
    pictures: list[Picture],
    drawn: dict[tuple[int, str], Drawn],
    subgroups: dict[str, str],
    image_size: int,
) -> None:
    """Write every protocol's folder, the table of identities, the attribution and the manifests."""
    linker = Linker()
    common = {"name": "Emoji-ReID", "image_size": image_size, "rule_version": plan.rule_version}
    parts: dict[str, dict[str, object]] = {}
    steps = (*PROTOCOLS, "fgvc", "closed")
    for done, name in enumerate(steps):
        progress("writing", done, len(steps))
        record: dict[str, object] = {**common, "part": name, "about": _ABOUT[name]}
        if name in PROTOCOLS:
            splits = market_splits(name, pictures, plan.core_designs)
            record["layout"] = "market1501"
            record["counts"], record["checksums"] = write_market(part / name, splits, drawn, linker)
        elif name == "fgvc":
            classes, members, unlabelled = subgroup_task(pictures, subgroups)
            record["layout"] = "cub200"
            record["counts"], record["checksums"] = write_cub(part / name, classes, members, drawn, linker)
            record["left_out"] = {
                "identities_without_subgroup": unlabelled,
                "pictures": len(pictures) - len(members),
                "why": "validation identities, subgroups with under 4 training or 2 test identities, no subgroup",
            }
        else:
            classes, members = closed_task(pictures)
            record["layout"] = "cub200"
            record["counts"], record["checksums"] = write_cub(part / name, classes, members, drawn, linker)
        (part / name / MANIFEST).write_text(as_json(record), encoding="utf-8")
        parts[name] = record
    progress("writing", len(steps), len(steps))
    parts[PICTURES] = {
        **common,
        "part": PICTURES,
        "about": "every picture under its design and name; the other parts are further names of the same files",
        "checksums": {
            design.key: list_digest(
                {entry.path.name: entry.sha256 for entry in drawn.values() if entry.design == design.key}
            )
            for design in plan.designs
        },
    }
    _write_identities(part / "identities.csv", plan, pictures, subgroups)
    (part / ATTRIBUTION).write_text(plan.attribution(), encoding="utf-8")
    tables = {name: sha256_of(part / name) for name in ("identities.csv", ATTRIBUTION)}
    names = sorted({picture.name for picture in pictures})
    manifest = {
        **common,
        "sources": plan.sources(),
        "licence": plan.licence(),
        "attribution": plan.attribution(),
        "seeds": "none: the split is by sha256 of the name, modulo 100",
        "identities": {"count": len(names), "sha256": names_digest(names)},
        "pictures": len(pictures),
        "tables": tables,
        "parts": parts,
    }
    (part / MANIFEST).write_text(as_json(manifest), encoding="utf-8")


def _write_identities(path: Path, plan: Plan, pictures: list[Picture], subgroups: dict[str, str]) -> None:
    """Write the number, split, subgroup and designs of each name."""
    cameras: dict[tuple[int, str], list[str]] = {}
    for picture in pictures:
        cameras.setdefault((picture.identity, picture.name), []).append(plan.designs[picture.camera].key)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["identity", "name", "split", "subgroup", "designs"])
        for (identity, name), designs in sorted(cameras.items()):
            writer.writerow([identity, name, split_of(name), subgroups.get(name, ""), " ".join(designs)])


def _check_identities(plan: Plan, neutral: list[str], candidates: list[str], names: list[str]) -> None:
    """Stop at the first step of the identity rule that does not give what is expected."""
    expected = plan.expected
    for rule, found, wanted in (
        ("the skin-tone rule", len(neutral), expected.names_after_skin_tone_rule),
        ("the gender rule", len(candidates), expected.names_after_gender_rule),
        ("the equal-raster rule", len(names), expected.count),
    ):
        if found != wanted:
            raise DataError(
                f"Emoji-ReID: {found} names after {rule} instead of {wanted}: check the archives and resvg_py"
            )
    if (digest := names_digest(names)) != expected.sha256:
        raise DataError(
            f"Emoji-ReID: the {len(names)} names have sha256 {digest} instead of {expected.sha256}: "
            f"check the archives and the version of resvg_py"
        )


def _check_pictures(plan: Plan, pictures: list[Picture]) -> None:
    """Stop if splits or pictures are not as many as expected."""
    expected = plan.expected
    splits = [split_of(name) for name in {picture.name for picture in pictures}]
    for what, found, wanted in (
        ("training identities", splits.count("train"), expected.train),
        ("validation identities", splits.count("val"), expected.val),
        ("test identities", splits.count("test"), expected.test),
        ("pictures of the core designs", sum(p.camera < plan.core_designs for p in pictures), expected.core_pictures),
        ("pictures", len(pictures), expected.all_pictures),
    ):
        if found != wanted:
            raise DataError(f"Emoji-ReID: {found} {what} instead of {wanted}: check the archives")


_ABOUT = {
    "a": "protocol A: the 4 core designs; every test picture is query and gallery",
    "b": "protocol B: all designs; every test picture is query and gallery",
    **{
        name: f"protocol C: training on all cameras but {name[1:]}, which gives the queries; the others are the gallery"
        for name in PROTOCOLS_C
    },
    "fgvc": "class = CLDR subgroup, tested on unseen identities",
    "closed": "class = identity, designs 0 1 2 4 5 6 7 for training, design 3 for testing",
}
