"""Child processes that start fast: forked from a server that has imported everything once."""

import multiprocessing
import os
import socket

PRELOAD = [
    "vision_suite.lit_modules.dcal",
    "vision_suite.datasets.reid.data",
    "vision_suite.callbacks.ema",
    "vision_suite.cli.commands.train",
]


def _enter(env, function, args, kwargs):
    os.environ.update(env)
    function(*args, **kwargs)


def run(function, *args, ranks=1, timeout=240, **kwargs):
    """Call a function in one child, or in several that find each other as torchrun's would; their exit codes."""
    # Not plain fork: torch refuses a backward pass in a process forked after one.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    shared = {}
    if ranks > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {
            "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": "0",
            "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks),
        }  # fmt: skip
    children = []
    for rank in range(ranks):
        env = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
        children.append(context.Process(target=_enter, args=(env, function, args, kwargs)))
        children[-1].start()
    for child in children:
        child.join(timeout)
        if child.is_alive():
            child.kill()
            child.join()
    return [child.exitcode for child in children]
