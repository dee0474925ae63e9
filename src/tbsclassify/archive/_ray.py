"""Spread an archive over a Ray cluster with Ray Data."""

import logging
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
import ray.data
from threadpoolctl import threadpool_limits

from tbsclassify.archive._engines import Batch, Scored, Work
from tbsclassify.tuning._session import running_ray


class _Worker:
    """Reads and scores batches in a process of its own, on any machine."""

    def __init__(self, work: Work, *, on_gpu: bool):
        self._work = work
        if on_gpu:
            # The model may come from a machine without one.
            for network in work.scorer.networks:
                network._move_to("cuda")

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        batches = (pickle.loads(one) for one in rows["batch"])
        # An error is handed on as it is: Ray would wrap it, and repeat the batch.
        with threadpool_limits(1):
            try:
                scored = [
                    pickle.dumps(tuple(one)) for one in self._work.score_all(batches)
                ]
            except Exception as error:
                scored = [pickle.dumps(error)]
        return {"scored": np.array(scored, dtype=object)}


def score_on_cluster(work: Work, batches: Iterator[Batch]) -> Iterator[Scored]:
    """Score batches on all cores, or all GPUs, of the cluster, in their order."""
    with running_ray(verbose=0), _quiet_and_ordered():
        resources = ray.cluster_resources()
        n_gpus = int(resources.get("GPU", 0)) if work.scorer.networks else 0
        options: dict[str, Any] = {"num_gpus": 1} if n_gpus else {"num_cpus": 1}
        most = n_gpus or max(1, int(resources.get("CPU", 1)))
        items = [{"batch": pickle.dumps(batch)} for batch in batches]
        if not items:
            return
        data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Worker,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(most, len(items))),
            fn_constructor_args=(work,),
            fn_constructor_kwargs={"on_gpu": bool(n_gpus)},
            **options,
        )
        for row in data.iter_rows():
            found = pickle.loads(row["scored"])
            if isinstance(found, Exception):
                raise found
            yield Scored(*found)


@contextmanager
def _quiet_and_ordered() -> Iterator[None]:
    """Have Ray Data keep the order and say nothing, inside the block."""
    with warnings.catch_warnings():
        # Ray Data sets a setting of its own that it has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ray.data.DataContext.get_current()
    names = ("enable_progress_bars", "print_on_execution_start")
    before = {name: getattr(context, name) for name in names}
    order = context.execution_options.preserve_order
    logger = logging.getLogger("ray.data")
    level = logger.level
    for name in names:
        setattr(context, name, False)
    context.execution_options.preserve_order = True
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        context.execution_options.preserve_order = order
        logger.setLevel(level)
