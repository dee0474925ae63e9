"""The Ray that a search runs on, and a process left as it was before it."""

import logging
import os
import random
import signal
import threading
from contextlib import contextmanager

import numpy as np
import ray

from tbsclassify.tuning._trial import classifier_with_epochs

# Those that Ray Tune sets handlers for, and leaves them set.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGUSR1") if hasattr(signal, name)
]
# Settings that Ray Tune takes from the environment alone: no log files and no
# snapshots, which hold nothing that we do not keep; Ctrl-C and the working directory
# are left as they are.
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@contextmanager
def interruption_told_to(follower):
    """Let Ctrl-C end the trials first; a second one ends this process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
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
            if handler is not None:  # which is how Python shows those of others
                signal.signal(sign, handler)


@contextmanager
def running_ray(verbose):
    """Use the Ray that there is, or run one of our own inside the block.

    Yields whether it is our own.
    """
    level = logging.CRITICAL if verbose < 2 else logging.INFO
    address = os.environ.get("RAY_ADDRESS")
    if ray.util.client.ray.is_connected() or (address or "").startswith("ray://"):
        raise RuntimeError(
            "Ray Client (an address ray://...) cannot follow a search. Run it on a "
            "machine of the cluster, or send it there with `ray job submit`."
        )
    if ray.is_initialized():
        yield False
        return
    options = {"logging_level": level, "log_to_driver": verbose > 1}
    if not address:
        options |= {"address": "local", "include_dashboard": False}
    ray.init(**options)
    try:
        yield not address
    finally:
        ray.shutdown()


def check_resources(resources, estimator, is_ours):
    """Return what each trial takes: by default a core, and a GPU if it will use one."""
    there_are = ray.cluster_resources()
    if resources is None:
        classifier = classifier_with_epochs(estimator)
        wants_gpu = classifier is not None and classifier.device != "cpu"
        has_gpu = there_are.get("GPU", 0) > 0
        resources = {"cpu": 1, "gpu": 1} if wants_gpu and has_gpu else {"cpu": 1}
    resources = {"cpu": 1} | resources
    if is_ours:
        for name, amount in resources.items():
            key = name.upper() if name in ("cpu", "gpu") else name
            if amount > there_are.get(key, 0):
                raise ValueError(
                    f"resources_per_trial={resources!r}, but this machine has "
                    f"{there_are.get(key, 0):g} of {name!r}. Ask for less, or start "
                    "Ray with more."
                )
    return resources


@contextmanager
def kept_as_found(seed):
    """Put global state right for Ray Tune inside the block, and back after it.

    Schedulers draw from NumPy's global generator, which is seeded.
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
def quiet(verbose):
    """Silence Ray and Optuna inside the block, unless they are to talk."""
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
