"""A method of the hub: how its networks are built, fed and read, and how a checkpoint becomes their settings."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

ENTRY = "entry"  # stands for the source of a decoder whose configuration and weights the entry has
Settings = Mapping[str, Any]
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class HubMethod:
    """One network class of a method. Classes are named, and imported when they are needed.

    Attributes:
        name: Name of the method, with which names of its entries begin.
        network: Path of the network's class, which ``config.json`` names.
        modules: Names of the classes in ``lit_modules`` whose ``model`` it is.
        tasks: Tasks that it is for.
        outputs: Outputs of a network for a batch, those that ``predict`` writes, in plain tensors.
        example: A small batch for a network, of its settings and preprocessing: the sample of an entry.
        preprocess: Preprocessing in the form of ``config.json``, of the task, the checkpoint's state of the data and
            the module's settings.
        settings: Arguments of the network's constructor, of those of the module's and of the network; by default those
            of the same name.
        network_of: The network of a module; by default its ``model``.
        put: Puts the weights of a network into a module; by default into its ``model``.
        build: Builder of the network of its arguments; by default the class itself.
        fixed: Arguments that are always given, such as ``pretrained=False``.
        words: Patterns of texts in the settings that are plain words though they look like addresses, by setting.
    """

    name: str
    network: str
    modules: tuple[str, ...]
    tasks: tuple[str, ...]
    outputs: Callable[[nn.Module, Mapping[str, Tensor]], Tensors]
    example: Callable[[nn.Module, Settings], Tensors]
    preprocess: Callable[[str, Settings, Settings], dict[str, Any]]
    settings: Callable[[Settings, nn.Module], dict[str, Any]] | None = None
    network_of: Callable[[nn.Module], nn.Module] | None = None
    put: Callable[[nn.Module, Mapping[str, Tensor]], object] | None = None
    build: Callable[[Settings], nn.Module] | None = None
    fixed: Settings = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    def network_class(self) -> Any:
        """The network's class."""
        module, _, name = self.network.rpartition(".")
        return pkgutil.resolve_name(f"{module}:{name}")

    def make(self, settings: Settings) -> nn.Module:
        """The network of its settings, as they stand in ``config.json``."""
        if self.build is not None:
            return self.build(settings)
        network: nn.Module = self.network_class()(**{**settings, **self.fixed})
        return network

    def settings_of(self, module_settings: Settings, network: nn.Module) -> dict[str, Any]:
        """The network's settings, of those of the module around it."""
        if self.settings is not None:
            return self.settings(module_settings, network)
        taken = inspect.signature(self.network_class().__init__).parameters
        return {name: value for name, value in module_settings.items() if name in taken and name not in self.fixed}

    def network_in(self, module: nn.Module) -> nn.Module:
        """The network of a Lightning module."""
        if self.network_of is not None:
            return self.network_of(module)
        network: nn.Module = module.get_submodule("model")
        return network

    def put_into(self, module: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put the weights of a network into a Lightning module, every one of them."""
        if self.put is not None:
            self.put(module, state)
        else:
            module.get_submodule("model").load_state_dict(dict(state))
