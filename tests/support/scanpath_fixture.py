"""Small generated scanpath sets in the layouts of the real ones."""

import json
import zipfile
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw

ROWS, COLUMNS = 6, 14


def picture(path, size, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def amazon(folder, *, collages=10, subjects=3, masks=False, pictures=False, name="Amazon.json"):
    """Collages of 140 x 60 pixels, cells of 10 x 10; each person looks at cells 0, 15 and the target's."""
    contents = {}
    for number in range(1, collages + 1):
        target = 20 + number
        row, column = divmod(target, COLUMNS)
        box = {"xmin": column * 10 + 1, "ymin": row * 10 + 1, "xmax": column * 10 + 9, "ymax": row * 10 + 9}
        middle = [column * 10 + 5, row * 10 + 5]
        contents[f"{number}.jpg"] = {
            "fixations": {str(s): [[5, 5], [15 + s, 15], middle] for s in range(1, subjects + 1)},
            "ground_truth": [box],
            "size": {"width": 140, "height": 60},
            "target": f"target_{number % 2}.jpg",
        }
        if masks:
            mask = Image.new("L", (140, 60), 0)
            for cell in range(ROWS * COLUMNS):
                top, left = cell // COLUMNS * 10 + 1, cell % COLUMNS * 10 + 1
                ImageDraw.Draw(mask).rectangle([left, top, left + 6, top + 7], fill=255)
            (folder / "binarymask").mkdir(parents=True, exist_ok=True)
            mask.save(folder / "binarymask" / f"14x6-{number}.jpg", format="PNG")
        if pictures:
            picture(folder / "images" / f"{number}.jpg", (140, 60), number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(contents))
    return folder


SHELF_HEADER = ["ID", "Sub_ID", "Question", "Target", "T_Package", "Choice", "X", "Y"]


def shelf_rows():
    rows = []
    for subject in (1, 2):
        for trial, (question, target, slot) in enumerate(
            [("Q3_1", "T3_1", 14), ("Q3_2", "T3_2", 27), ("Q1_1", "T1_1", 22)]
        ):
            for choice in (1, 2, 2, slot):
                rows.append([trial, subject, question, target, slot, choice, 100.5, 200])
    return rows


def write_csv(path, header, rows):
    lines = [header, *rows]
    path.write_text("\n".join(",".join(str(value) for value in line) for line in lines) + "\n")


def write_xlsx(path, header, rows):
    """A workbook with one sheet: text as shared strings, numbers as they are, empty cells left out."""
    texts, body = [], []
    for number, line in enumerate([header, *rows], start=1):
        cells = []
        for column, value in enumerate(line):
            reference = f"{chr(ord('A') + column)}{number}"
            if value == "":
                continue
            if isinstance(value, str):
                texts.append(value)
                cells.append(f'<c r="{reference}" t="s"><v>{len(texts) - 1}</v></c>')
            else:
                cells.append(f'<c r="{reference}"><v>{value}</v></c>')
        body.append(f'<row r="{number}">{"".join(cells)}</row>')
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    strings = "".join(f"<si><t>{escape(text)}</t></si>" for text in texts)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "xl/worksheets/sheet1.xml", f"<worksheet {space}><sheetData>{''.join(body)}</sheetData></worksheet>"
        )
        archive.writestr("xl/sharedStrings.xml", f"<sst {space}>{strings}</sst>")


# Of the letterbox oracle: the same box in pictures of four shapes.
COCO_BOX = [67, 114, 78, 42]


def coco(folder, trials=None, notes=None):
    """Pictures of 640 x 480 with a cup, a plate under it, a crumb and a crowd; the cup is where the oracle has it."""
    folder.mkdir(parents=True, exist_ok=True)
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "width": 640, "height": 480} for n in (1, 2, 3)]
    categories = [{"id": 5, "name": "cup"}, {"id": 6, "name": "plate"}]
    own = [
        {"image_id": n, "category_id": kind, "bbox": box, "iscrowd": crowd}
        for n in (1, 2)
        for kind, box, crowd in (
            (6, [50, 100, 200, 100], 0),
            (5, COCO_BOX, 0),
            (6, [0, 0, 5, 5], 0),
            (5, [300, 300, 100, 100], 1),
        )
    ]
    instances = {"images": images, "categories": categories, "annotations": own if notes is None else notes}
    (folder / "instances_train.json").write_text(json.dumps(instances))
    (folder / "coco_search18_fixations_TP_train.json").write_text(json.dumps([trial()] if trials is None else trials))
    return folder


def trial(**changes):
    """A trial that finds the cup: middle of the screen, plate, cup."""
    usual = {
        "name": "000000000001.jpg",
        "subject": 1,
        "task": "cup",
        "condition": "present",
        "bbox": [286.5625, 249.375, 170.625, 91.875],
        "X": [840.0, 600.0, 300.0],
        "Y": [525.0, 400.0, 260.0],
        "T": [200, 150, 400],
        "length": 3,
        "correct": 1,
        "split": "train",
    }
    return {**usual, **changes}


def table(folder, *, scenes=6, subjects=2, features=True, targets=True):
    """Scenes of 2 to 4 objects of 50 x 50 pixels in a row, and paths from the left to the last object."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, trials = [], []
    for number in range(scenes):
        count = 2 + number % 3
        name = f"s{number}.png"
        row = {
            "image": name,
            "width": 400,
            "height": 100,
            "boxes": [[80 * n, 20, 80 * n + 50, 70] for n in range(count)],
        }
        if features:
            np.save(folder / f"s{number}.npy", np.full((count, 5), number, dtype=np.float32))
            row["features"] = f"s{number}.npy"
        rows.append({**row, "labels": [f"object {n}" for n in range(count)]})
        np.save(folder / f"t{number}.npy", np.full(5, -number, dtype=np.float32))
        for subject in range(subjects):
            fixations = [[80 * n + 25, 45, 0.2 + n / 10] for n in range(count)]
            own = {"image": name, "subject": f"p{subject}", "task": f"task {number % 2}", "fixations": fixations}
            apart = {"target_features": f"t{number}.npy"} if targets else {}
            subset = ("train", "train", "valid", "test")[number % 4]
            trials.append({**own, **apart, "target": count - 1, "subset": subset})
    (folder / "scenes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in trials))
    return folder
