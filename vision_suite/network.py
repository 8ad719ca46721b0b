"""Model hubs over the network: whether one answers within seconds, and work without the network."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from vision_suite.errors import DataError

PATIENCE = 4.0  # seconds that a hub has to answer
Loaded = TypeVar("Loaded")
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def local_folder(name: str, what: str) -> str | None:
    """The folder that a name means; None if it is a name on the hub.

    Args:
        name: Folder, or name on the hub such as ``google/owlvit-base-patch32``.
        what: What is loaded, for the message.

    Raises:
        DataError: It can only be a folder, which is not there.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if not _HUB_NAME.fullmatch(name):
        raise DataError(f"{what} cannot be loaded: there is no folder {str(path)!r}, and it is no name on the hub")
    return None


def why_unreachable(url: str, patience: float | None = None) -> str | None:
    """The reason why a server does not answer; None if it does, whatever its answer is.

    The time is limited as a whole: looking up a name, for which libraries have no limit, included. Proxies of the
    environment are used.

    Args:
        url: Address of the server.
        patience: Seconds to wait, by default `PATIENCE`.
    """
    limit = PATIENCE if patience is None else patience
    answer: list[str | None] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=limit):
                answer.append(None)
        except urllib.error.HTTPError:
            answer.append(None)  # refusing a request is an answer
        except Exception as error:
            answer.append(" ".join(str(getattr(error, "reason", error)).split())[:80])

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(limit)
    return answer[0] if answer else f"no answer within {limit:g} s"


def hub_address() -> str:
    """Address of the model hub, as the environment sets it (HF_ENDPOINT)."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def hub_is_off() -> bool:
    """True if the environment forbids use of the hub (HF_HUB_OFFLINE)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


@contextlib.contextmanager
def without_network() -> Iterator[None]:
    """Let the hub's client use local files only, and bound every other wait for a server.

    Threads that are running share both settings.
    """
    from huggingface_hub import constants

    former, wait = constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()
    constants.HF_HUB_OFFLINE = True
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = former
        socket.setdefaulttimeout(wait)


def cached_first(load: Callable[[bool], Loaded], name: str) -> Loaded:
    """Load a name of the hub: out of the hub's cache, else from the hub, which is asked once whether it answers.

    The hub's own client tries again and again where there is no network.

    Args:
        load: Loads it; its argument is true for local files only.
        name: Name on the hub.

    Raises:
        DataError: It cannot be read from the cache, and the hub does not answer or may not be used.
    """
    try:
        with without_network():
            return load(True)
    except Exception as error:  # a reader fails in any way
        off = "HF_HUB_OFFLINE is set" if hub_is_off() else why_unreachable(hub_address())
        if off is not None:
            raise DataError(
                f"{name!r} is not in the hub's cache, and {hub_address()} cannot be used ({off}): give a folder, or "
                "load it once with the network up"
            ) from error
    return load(False)
