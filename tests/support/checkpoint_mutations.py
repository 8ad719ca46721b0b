"""Seeded mutations of what a checkpoint holds, saved again as a file that is whole."""

import io
import random
import zipfile
from collections.abc import Callable, Iterator

import torch
from mutations import Mutated

ODD = ("text", [], {}, None, -1, 10**30, float("nan"), True, torch.zeros(0), {"a": {"b": 1}})


def state_mutations(data: bytes, draw: random.Random) -> Iterator[Callable[[], Mutated]]:
    """The mutations of a checkpoint of a run, or of a state dict, each as a function that makes it."""

    def changed(how: str, change: Callable[[dict], object], plain: bool = False) -> Mutated:
        contents = torch.load(io.BytesIO(data), weights_only=True)
        change(contents)
        out = io.BytesIO()
        torch.save(contents, out)
        return Mutated(how, out.getvalue(), plain)

    def weights(contents: dict) -> dict:
        return contents.get("state_dict", contents)

    def tensor(change: Callable[[torch.Tensor], object]) -> Callable[[dict], None]:
        def apply(contents: dict) -> None:
            state = weights(contents)
            name = draw.choice([name for name, value in state.items() if value.numel()])
            state[name] = change(state[name])

        return apply

    def nan(value: torch.Tensor) -> torch.Tensor:
        value = value.clone()
        value.view(-1)[draw.randrange(value.numel())] = draw.choice([float("nan"), float("inf")])
        return value

    def renamed(contents: dict) -> None:
        state = weights(contents)
        state["stranger"] = state.pop(draw.choice(list(state)))

    def settings(contents: dict) -> None:
        chosen = contents.get("hyper_parameters", contents)
        chosen[draw.choice(list(chosen))] = draw.choice(ODD)

    def top(contents: dict) -> None:
        contents[draw.choice(list(contents))] = draw.choice(ODD)

    def below(contents: dict) -> None:
        container = contents
        while True:
            key = draw.choice(list(container))
            inner = container[key]
            if not isinstance(inner, dict) or not inner or draw.random() < 0.2:
                break
            container = inner
        container[key] = draw.choice(ODD)

    def deep(contents: dict) -> None:
        value: object = 1
        for _ in range(400):
            value = {"a": value}
        contents[draw.choice(list(contents))] = value

    yield lambda: changed("nan", tensor(nan), plain=True)
    yield lambda: changed("shape", tensor(lambda value: value.reshape(-1)[:-1]), plain=True)
    yield lambda: changed(
        "dtype", tensor(lambda value: value.to(draw.choice([torch.int8, torch.bool, torch.complex64])))
    )
    yield lambda: changed("sparse", tensor(lambda value: value.to_sparse()))
    yield lambda: changed("no_tensor", tensor(lambda value: draw.choice(ODD)))
    yield lambda: changed("huge_view", tensor(lambda value: value.reshape(-1)[:1].expand(2**31)))
    yield lambda: changed("renamed", renamed, plain=True)
    yield lambda: changed("setting", settings)
    yield lambda: changed("entry", top)
    yield lambda: changed("inner", below)
    yield lambda: changed("key_dropped", lambda contents: contents.pop(draw.choice(list(contents))))
    yield lambda: changed("deep", deep)
    yield lambda: Mutated("zip_entry_dropped", _without_entry(data, draw), plain=True)
    yield lambda: Mutated("zip_bomb", _bomb(data), plain=True)


def _entries(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def _written(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, contents in entries:
            archive.writestr(name, contents)
    return out.getvalue()


def _without_entry(data: bytes, draw: random.Random) -> bytes:
    entries = _entries(data)
    del entries[draw.randrange(len(entries))]
    return _written(entries)


def _bomb(data: bytes) -> bytes:
    """One entry that unpacks to far more than it is."""
    entries = _entries(data)
    return _written([*entries, ("archive/data/bomb", bytes(3 * 10**9 // 16))], zipfile.ZIP_DEFLATED)
