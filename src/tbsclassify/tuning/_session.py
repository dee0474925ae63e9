"""Start or find Ray for a search, and restore the process afterwards.

Private names of Ray are used here and in `_ray` only.
"""

import logging
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from ray.tune.execution.cluster_info import _is_ray_cluster

from tbsclassify.tuning._trial import classifier_with_epochs

# Ray Tune sets handlers for these signals and does not restore them.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGUSR1") if hasattr(signal, name)
]
# Settings that Ray Tune reads from the environment only. They stop it from writing log
# files and snapshots, since we keep all that is in them, and from handling Ctrl-C and
# changing the working directory.
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@contextmanager
def interrupts_noted_in(follower: Any) -> Iterator[None]:
    """Let Ctrl-C end the trials first; a second one ends this process at once.

    Ray's own handling of Ctrl-C is switched off: it ends the trials but not the
    program, so `fit` would return as if the search were over. An exception in the
    middle of Ray's loop, on the other hand, would leave trials running on the
    cluster. So the handler only notes the interrupt. Ray learns of it when it
    asks whether to stop (`_SearchStopper`), and `run_trials` raises it in the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread set handlers
        return
    before = {sign: signal.getsignal(sign) for sign in _SIGNALS}

    def note(number, frame):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        follower.error = KeyboardInterrupt()

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        for sign, handler in before.items():
            if handler is not None:  # None: the handler was not set from Python
                signal.signal(sign, handler)


@contextmanager
def running_ray(verbose: int) -> Iterator[None]:
    """Use the Ray that is running, or run one inside the block."""
    level = logging.CRITICAL if verbose < 2 else logging.INFO
    address = os.environ.get("RAY_ADDRESS")
    if ray.util.client.ray.is_connected() or (address or "").startswith("ray://"):
        raise RuntimeError(
            "Expected to run on a machine of the Ray cluster, got Ray Client (an "
            "address ray://...), which cannot follow a search. Run the program on a "
            "machine of the cluster, or send it there with `ray job submit`."
        )
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"logging_level": level, "log_to_driver": verbose > 1}
    if not address:
        options |= {"address": "local", "include_dashboard": False}
    ray.init(**options)
    try:
        yield
    finally:
        ray.shutdown()


def resolve_resources(resources: dict | None, estimator: Any) -> dict[str, float]:
    """Return the resources of each trial, checked against the Ray that is running.

    The default is a core, and a GPU if there is one and the classifier uses it.

    Raises
    ------
    ValueError
        If no node has as much, so that no trial could start.
    """
    nodes = _nodes()
    if resources is None:
        classifier = classifier_with_epochs(estimator)
        uses_gpu = classifier is not None and classifier.device != "cpu"
        has_gpu = any(node.get("GPU", 0) > 0 for node in nodes)
        resources = {"gpu": 1} if uses_gpu and has_gpu else {}
    # Ray writes CPU for the resources of nodes, and cpu for those of trials.
    lower = {"CPU": "cpu", "GPU": "gpu"}
    resources = {lower.get(name, name): amount for name, amount in resources.items()}
    resources = {"cpu": 1} | resources
    upper = {"cpu": "CPU", "gpu": "GPU"}
    needed = {upper.get(name, name): amount for name, amount in resources.items()}
    fits = any(
        all(node.get(name, 0) >= amount for name, amount in needed.items())
        for node in nodes
    )
    # A cluster started by `ray up` may add nodes of kinds that it does not list.
    if not fits and not _is_ray_cluster():
        raise ValueError(
            f"Expected resources_per_trial to be what one machine has, got {resources}."
            f" Ray has {_in_words(nodes, needed)}. Ask for less, or start Ray with "
            "more."
        )
    return resources


def resources_in_words(resources: dict[str, float]) -> str:
    """Say what a trial takes, what the machines have and what is free."""
    free = ray.available_resources()
    needed = {name.upper() if name in ("cpu", "gpu") else name for name in resources}
    idle = ", ".join(f"{free.get(name, 0):g} {name}" for name in sorted(needed))
    return (
        f"A trial takes resources_per_trial={resources}; Ray has "
        f"{_in_words(_nodes(), needed)}, of which are free now: {idle}."
    )


def _nodes() -> list[dict[str, float]]:
    """Return the resources of each node, and of nodes that an autoscaler may add."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    config = ray._private.state.state.get_cluster_config()
    groups = [] if config is None else config.node_group_configs
    return nodes + [dict(group.resources) for group in groups]


def _in_words(nodes: list[dict[str, float]], names: Any) -> str:
    """Say how much of the named resources each node has."""
    names = sorted({"CPU", "GPU", *names})
    each = [
        ", ".join(f"{node.get(name, 0):g} {name}" for name in names) for node in nodes
    ]
    count = "1 machine" if len(nodes) == 1 else f"{len(nodes)} machines"
    return f"{count} ({'; '.join(each)})"


def most_epochs(scheduler: Any) -> int | None:
    """Return the number of epochs after which a scheduler ends every trial, or None."""
    # Schedulers have no public attribute for it.
    return getattr(scheduler, "_max_t", getattr(scheduler, "_max_t_attr", None))


@contextmanager
def kept_as_found(seed: int) -> Iterator[None]:
    """Set global state as Ray Tune needs it, and restore it after the block.

    Ray Tune takes settings from the environment, and its schedulers draw from NumPy's
    global generator: hyperband, for one, draws the bracket of each trial. So that
    generator is seeded here, or a search with a seed would not repeat itself. The
    user's environment and random states come back, whatever happens.
    """
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    environment = {name: os.environ.get(name) for name in _ENVIRONMENT}
    np.random.seed(seed)  # noqa: NPY002
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        for name, value in environment.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def quiet(verbose: int) -> Iterator[None]:
    """Silence Ray and Optuna inside the block, unless `verbose` is 2 or more."""
    loggers = [logging.getLogger(name) for name in ("ray", "optuna")]
    levels = [logger.level for logger in loggers]
    if verbose < 2:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
