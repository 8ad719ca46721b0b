"""Page-questions on a generated table, and the key against what the real pages say."""

import csv
import io

import pytest

from vision_suite.datasets.instruct import page_questions
from vision_suite.datasets.instruct.page_questions import RIGHT, ROLES, make_questions, picture_of, read_pages
from vision_suite.datasets.instruct.page_questions_recipe import RECIPE
from vision_suite.datasets.instruct.question_rows import right_answer
from vision_suite.datasets.prepare.base import Options
from vision_suite.datasets.prepare.fetch import data_dir, fetch_members
from vision_suite.datasets.prepare.onestop import ARCHIVE, SAMPLE
from vision_suite.errors import DataError


def table(pages, roles=ROLES):
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["unique_paragraph_id", "role", "text"])
    writer.writerows([page, role, f"{role} of {page}"] for page in pages for role in roles)
    return out.getvalue().encode()


def test_choices_are_shuffled_and_the_key_goes_with_them():
    pages = read_pages(table([f"p{number:02d}" for number in range(40)]))
    rows = make_questions(pages, dict.fromkeys(pages, "c"))
    assert len(rows) == 80
    for row in rows:
        (turn,) = row["turns"]
        name = row["id"].rsplit("-", maxsplit=1)[1]
        assert right_answer(turn) == f"answer_c of {name}"
        assert sorted(turn["choices"]) == [f"answer_{letter} of {name}" for letter in "abcd"]
        assert ("images" in turn) == (turn["source"] == "page-picture") == ("paragraph" not in turn["question"])
    assert {row["turns"][0]["answer"] for row in rows} == set("ABCD")


def test_a_page_without_an_answer_is_one_line():
    with pytest.raises(DataError, match=r"scanpath-studio: page p1 has no answer_d: check the archive"):
        read_pages(table(["p1"], ROLES[:-1]))


def test_the_set_is_written_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    members = {f"{SAMPLE}images/{name}__paragraph.png": name.encode() for name in RIGHT}
    members[f"{SAMPLE}images/manifest.csv"] = table(RIGHT)
    monkeypatch.setattr(page_questions, "fetch_members", lambda *_: members)
    folder = RECIPE.prepare(lambda *_: None, Options())
    assert RECIPE.why_not_ready(folder) is None
    assert not RECIPE.verify(folder, lambda *_: None).problems
    assert (folder / picture_of("2_1_1_Ele")).read_bytes() == b"2_1_1_Ele"
    assert len((folder / "text_test.jsonl").read_text().splitlines()) == 12
    assert len((folder / "questions_test.jsonl").read_text().splitlines()) == 24


@pytest.mark.real_data
@pytest.mark.skipif(
    not (data_dir() / "archives" / ARCHIVE.file).is_file(),
    reason="prepare it: vision-suite data prepare page-questions",
)
def test_the_key_agrees_with_the_critical_spans():
    """Words of the right answers stand in the span that the package marks as critical, for pages that quote it."""
    members = fetch_members(ARCHIVE)
    pages = read_pages(members[f"{SAMPLE}images/manifest.csv"])
    spans = {}
    for row in csv.DictReader(io.StringIO(members[f"{SAMPLE}ia.csv"].decode("utf-8-sig"))):
        if row["is_in_aspan"] == "True":
            spans.setdefault(row["unique_paragraph_id"], []).append(row["IA_LABEL"].lower())
    said = {
        "2_1_1_Ele": "stores",
        "2_1_2_Ele": "five to ten",
        "2_1_4_Adv": "perks",
        "2_1_6_Ele": "expensive hotels",
        "2_2_3_Adv": "western carpathian mountains",
        "2_2_6_Ele": "minister",
    }
    for name, words in said.items():
        assert words in " ".join(spans[name])
        answer = pages[name][f"answer_{RIGHT[name]}"].lower()
        assert all(word in answer for word in words.split())
