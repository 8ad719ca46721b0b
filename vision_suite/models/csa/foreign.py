"""Files of OpenTAD that the detector can start from, as a table of names.

The names are facts of OpenTAD's public code (sming256/OpenTAD, ``configs/_base_/models/bmn.py`` and the modules that it
names). Its samples are reduced by a 2-D convolution over bins, here by a 3-D one of the same numbers.
"""

from __future__ import annotations

from vision_suite.layers.layouts import Layout, Tensors
from vision_suite.layers.proposal_map import Channels

EXTRACTOR, HEAD = "roi_head.proposal_roi_extractor", "roi_head.proposal_head.head"


def opentad(channels: Channels) -> Layout:
    """Layout of OpenTAD's BMN.

    Args:
        channels: Order of the network's confidence map; OpenTAD's is ``class_first``.
    """

    def prepare(tensors: Tensors) -> Tensors:
        found = dict(tensors)
        sample = f"{EXTRACTOR}.conv3d.0.weight"
        if sample in found and found[sample].ndim == 4:
            found[sample] = found[sample].unsqueeze(-1)
        for name in (f"{HEAD}.2.weight", f"{HEAD}.2.bias"):
            if name in found and channels == "iou_first":
                found[name] = found[name].flip(0)
        return found

    return Layout(
        "OpenTAD",
        anchor="projection.convs.0.conv.weight",
        rows=(
            ("projection.convs.0.conv.*", "host.base.0.*"),
            ("projection.convs.1.conv.*", "host.base.2.*"),
            ("rpn_head.tem.0.0.conv.*", "host.start.0.*"),
            ("rpn_head.tem.0.1.conv.*", "host.start.2.*"),
            ("rpn_head.tem.1.0.conv.*", "host.end.0.*"),
            ("rpn_head.tem.1.1.conv.*", "host.end.2.*"),
            (f"{EXTRACTOR}.reduce_dim.0.*", "host.reduce.0.*"),
            (f"{EXTRACTOR}.conv3d.0.*", "host.sample.*"),
            (f"{EXTRACTOR}.conv2d.0.*", "host.localise.0.*"),
            (f"{HEAD}.0.0.*", "host.localise.2.*"),
            (f"{HEAD}.1.0.*", "host.localise.4.*"),
            (f"{HEAD}.2.*", "host.localise.6.*"),
        ),
        prepare=prepare,
    )
