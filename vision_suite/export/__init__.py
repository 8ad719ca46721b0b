"""Write a trained network as torch.export or ONNX, with its preprocessing, and prove that the outputs are the same."""

from vision_suite.export.formats import SUFFIXES, Exportable, load_exported
from vision_suite.export.network import export_network
from vision_suite.export.parity import Parity, compare

__all__ = ["SUFFIXES", "Exportable", "Parity", "compare", "export_network", "load_exported"]
