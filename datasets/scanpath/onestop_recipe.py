"""The recipe of OneStop-mini: the package's files with their checksums, expected counts, folds and credits."""

from __future__ import annotations

from pathlib import Path

from vision_suite.datasets.prepare.base import Manifest, Options, Progress, Recipe
from vision_suite.datasets.prepare.fetch import Archive

SAMPLE = "scanpath_studio/sample_data/"
# Members of the package below that folder.
MEMBERS = {
    "fixations.csv": "862b95bf51cf915780bfb76693498a6cbe955b15f4a0cd14a8cccbdde6f9c062",
    "ia.csv": "cc3897202b4f862c21d269e769f9a21840553468651e9ac760fef515abaad794",
    "images/manifest.csv": "1eaa5d5852b698490b2752a76826ce4e17b78837225341d776b3b54ea6830a99",
    "images/2_1_1_Ele__paragraph.png": "c0b857976eb24b65d9e3586a5e97bb3638182286758232c9af4222ffc03c3004",
    "images/2_1_1_Ele__question.png": "14bb54d1a7784149f36aa222838045a08173ad1684d5bee265353dae93ea9646",
    "images/2_1_2_Ele__paragraph.png": "fe00dce795f332d903791637e68c40f999e9684d2d06d4fd238be516734b4a7c",
    "images/2_1_2_Ele__question.png": "5438a63b42d887f5ae6d49eedd17cd7daa1a3a9a1b1b740a661f41b4334fa811",
    "images/2_1_3_Adv__paragraph.png": "1c2746f9fa141082e5c69d5228395387f7df418c9ca6cf1ecb34bc7155f3fdee",
    "images/2_1_3_Adv__question.png": "f08cb0ec2ca45bec583713509c98cb890551603dda024ebff22f450afdbce15e",
    "images/2_1_4_Adv__paragraph.png": "c13d61e24edf413f5408134fa9f97caf334db6066d1c676d09a982935ad52b64",
    "images/2_1_4_Adv__question.png": "32eccb77ff26f84388ba6c220d385c4c6be29be8e6059c3e5220a5efc63f339e",
    "images/2_1_5_Adv__paragraph.png": "ada322639df40219f05f86d93f0f60a96f41e6ad9c86c6dbaa9e6a9c3f099820",
    "images/2_1_5_Adv__question.png": "627a6411fa60c95e45d26602325eaeef18886c273f83bc89e0301ed378acb087",
    "images/2_1_6_Ele__paragraph.png": "02ba0754beeb77492ceff29b5a4e04d46ddd3ae83c8685b5a0b399b9c312b683",
    "images/2_1_6_Ele__question.png": "9aea25c3cf9a88f1c3403cb97a645e689211a35531722c9c4769e92da0035d67",
    "images/2_2_1_Adv__paragraph.png": "e03957bd6ce0fa47a23fe3c2a026068b93ab8b3350242d0aacfbc9f690079eb5",
    "images/2_2_1_Adv__question.png": "958f33bc5f13663054a96a595ec9dd3adaa162f72df828999d26abc8083c1c52",
    "images/2_2_2_Adv__paragraph.png": "a14b81321e2ad6c027e675a104b3fc6e800ffe9a00958947a228dc6e77a57234",
    "images/2_2_2_Adv__question.png": "b5cd37e77220ede138fe82d4098689d788944346d7b5e67e1cb9d4901aae728a",
    "images/2_2_3_Adv__paragraph.png": "cea32018920c156e96b0caaa4274dcff13b0e3dcb86b433214a70ff3f044c285",
    "images/2_2_3_Adv__question.png": "3e59797a160b7db842f9dc5df1b42d5dc21636bc3698a1ea0cea0d92e63dbd27",
    "images/2_2_4_Ele__paragraph.png": "18a8656539e6bdb799bb185b60d85ceeb634fe250b48198fb634e255de4bff8d",
    "images/2_2_4_Ele__question.png": "a24c2edd5ddf42410ff177505c27a5725fdd0d178b213b43048dda303d20f854",
    "images/2_2_5_Ele__paragraph.png": "64c806112538f782a2ef8cb560dddba82b3ff77357db8985e738b73089cd95a5",
    "images/2_2_5_Ele__question.png": "ff901a33e9f474d0830a00b819ff6d08abe72710eab63b3816e07788a0bcf338",
    "images/2_2_6_Ele__paragraph.png": "b5aaa490f4ab4066954eccd3dcfdfcf5c4ef29dc876c70dae4638037bd59f253",
    "images/2_2_6_Ele__question.png": "512db050ad9d98f63938428e00445cbc67ce44ccbe17de34201b28f5510e205d",
}
ARCHIVE = Archive(
    client="pip",
    name="scanpath-studio",
    version="0.44.0",
    file="scanpath_studio-0.44.0-py3-none-any.whl",
    sha256="c236bbea1d43e905f501fa36c06b1d891a82741058de5918b68dd305bd52b0c9",
    members={SAMPLE + name: sha256 for name, sha256 in MEMBERS.items()},
)
# Folds by the number of the paragraph: 1 and 2, 3 and 4, 5 and 6 of both articles. The last is the usual test part.
PAGES = {
    "2_1_1_Ele": 0,
    "2_1_2_Ele": 0,
    "2_1_3_Adv": 1,
    "2_1_4_Adv": 1,
    "2_1_5_Adv": 2,
    "2_1_6_Ele": 2,
    "2_2_1_Adv": 0,
    "2_2_2_Adv": 0,
    "2_2_3_Adv": 1,
    "2_2_4_Ele": 1,
    "2_2_5_Ele": 2,
    "2_2_6_Ele": 2,
}
EXPECTED = {"pages": 12, "words": 1307, "trials": 24, "fixations": 3209, "fixations_without_word": 1}
# Columns that words_norms adds to a word's vector, standardised over all words; the last: is it in the answer?
NORMS = ("word_length_no_punctuation", "wordfreq_frequency", "gpt2_surprisal", "is_in_aspan")
LICENCE = "eye movements CC-BY-4.0; texts, questions and pictures CC-BY-SA-4.0"
ATTRIBUTION = (
    "Eye movements: OneStop Eye Movements (Y. Berzak, J. Malmaud, O. Shubi, Y. Meiri, E. Lion, R. Levy: OneStop: A "
    "360-Participant English Eye Tracking Dataset with Different Reading Regimes, Scientific Data 2025, "
    "https://doi.org/10.1038/s41597-025-06272-2), CC-BY-4.0, https://creativecommons.org/licenses/by/4.0/.\n"
    "Texts, questions and pictures of pages: OneStopQA (https://github.com/berzak/onestop-qa), CC-BY-SA-4.0, "
    "https://creativecommons.org/licenses/by-sa/4.0/.\n"
    "Both as the Python package scanpath-studio 0.44.0 carries them (two readers, two articles).\n"
    "Changes: boxes and fixations moved to pixels of the pictures; one fixation without word left out; words and "
    "questions as vectors of all-MiniLM-L6-v2 (Apache-2.0).\n"
)


class OneStopMini(Recipe):
    """OneStop-mini."""

    name = "onestop-mini"
    title = "OneStop-mini"
    description = "2 readers x 12 pages, 3,209 fixations on 1,307 words; fetches 3 MB, with word vectors 86 MB"
    task = "scanpaths, tested on unseen pages or readers"
    licence = "CC-BY-4.0 (eye movements), CC-BY-SA-4.0 (texts and pictures)"
    archives = (ARCHIVE,)
    one_size = "pictures of one size"

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Fetch and convert the pages."""
        from vision_suite.datasets.scanpath.onestop import build

        build(part, progress, options.source)

    def why_not_ready(self, folder: Path) -> str | None:
        """As for every set; a folder without sentence vectors is not ready where they can be made."""
        from vision_suite.datasets.scanpath.sentence_vectors import can_embed

        reason = super().why_not_ready(folder)
        if reason is None and len(self.manifest(folder)["sources"]) == 1 and can_embed():
            return "made without sentence vectors, which can be made now"
        return reason

    def outdated(self, manifest: Manifest) -> str | None:
        """As for every set; a second source, that of sentence vectors, is in the manifest only if they were made."""
        return super().outdated({**manifest, "sources": manifest["sources"][:1]})

    def attribution(self) -> str:
        """Credits of eye movements, texts and pictures."""
        return ATTRIBUTION


RECIPE = OneStopMini()
