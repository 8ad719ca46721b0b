"""The recipe of WordNet's nouns: its archive and credits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vision_suite.datasets.prepare.base import Options, Progress, Recipe
from vision_suite.datasets.prepare.fetch import Archive, fetch_members

DICT = "./usr/share/wordnet"
ARCHIVE = Archive(
    client="apt",
    name="wordnet-base",
    version="1:3.0-37",
    file="wordnet-base_3.0-37_all.deb",
    sha256="61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
    members={
        f"{DICT}/index.noun": "a490d99d93d017bf4822fe2f0ffa51fd73911ce271dc7535fade21f8814b5a04",
        f"{DICT}/data.noun": "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2",
        f"{DICT}/noun.exc": "2b5d675c380b39ecf595af9fa9d4e7feb1d58c643b0bff08c40ed5bfe41fab7a",
    },
)

# The notice that goes with every copy.
NOTICE = """\
This software and database is being provided to you, the LICENSEE, by Princeton University under the following license.
By obtaining, using and/or copying this software and database, you agree that you have read, understood, and will comply
with these terms and conditions.:

Permission to use, copy, modify and distribute this software and database and its documentation for any purpose and
without fee or royalty is hereby granted, provided that you agree to comply with the following copyright notice and
statements, including the disclaimer, and that the same appear on ALL copies of the software, database and
documentation, including modifications that you make for internal use or for distribution.

WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved.

THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS
OR IMPLIED. BY WAY OF EXAMPLE, BUT NOT LIMITATION, PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES OF
MERCHANT- ABILITY OR FITNESS FOR ANY PARTICULAR PURPOSE OR THAT THE USE OF THE LICENSED SOFTWARE, DATABASE OR
DOCUMENTATION WILL NOT INFRINGE ANY THIRD PARTY PATENTS, COPYRIGHTS, TRADEMARKS OR OTHER RIGHTS.

The name of Princeton University or Princeton may not be used in advertising or publicity pertaining to distribution of
the software and/or database. Title to copyright in this software, database and any associated documentation shall at
all times remain with Princeton University and LICENSEE agrees to preserve same.
"""


class WordNet(Recipe):
    """WordNet's nouns, as the tables that `vision_suite.text.nouns.NounTable` reads."""

    name = "wordnet"
    title = "WordNet 3.0, nouns"
    description = "117,798 nouns with the class of their first sense, and 2,050 irregular plurals; fetches 6.5 MB"
    task = "preference learning: which words name things; CHAIR as published"
    licence = "WordNet 3.0 licence"
    archives = (ARCHIVE,)
    one_size = "words only"

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Fetch WordNet's files and write the two tables."""
        from vision_suite.datasets.prepare.wordnet import irregular_plurals, noun_classes

        progress("fetching", 0, 1)
        members = fetch_members(ARCHIVE, options.source)
        progress("fetching", 1, 1)
        classes = noun_classes(members[f"{DICT}/index.noun"], members[f"{DICT}/data.noun"])
        plurals = irregular_plurals(members[f"{DICT}/noun.exc"])
        part.mkdir(parents=True)
        _write(part / "nouns.tsv", classes)
        _write(part / "plurals.tsv", {plural: ",".join(words) for plural, words in plurals.items()})
        self.seal(part, {"counts": {"nouns": len(classes), "irregular_plurals": len(plurals)}})

    def attribution(self) -> str:
        """Credits and the notice that goes with every copy."""
        return (
            "WordNet 3.0 (https://wordnet.princeton.edu), as Debian's package wordnet-base 3.0-37 carries it. "
            "Changes: the class of each noun's first sense, and the irregular plurals, written as tables.\n\n" + NOTICE
        )


def _write(path: Path, table: Mapping[str, str]) -> None:
    """Write a table of two columns."""
    path.write_text("".join(f"{word}\t{value}\n" for word, value in table.items()), encoding="utf-8", newline="\n")


RECIPE = WordNet()
