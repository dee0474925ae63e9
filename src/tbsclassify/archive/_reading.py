"""Read scans ahead, each with its pixel size or the reason why it cannot be read."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import joblib
import numpy as np

from tbsclassify._files import reason_of
from tbsclassify._spacing import are_plausible
from tbsclassify._warn import held_back
from tbsclassify.images import UnreadableScanError, read_scan

T = TypeVar("T")


class Reading(NamedTuple):
    """The result of reading one file."""

    image: np.ndarray | None
    spacing: tuple[float, float]  # height and width of a pixel in mm, or NaN
    error: str  # why there is no image, without the name of the file
    warnings: tuple[str, ...] = ()


def read_file(path: str) -> Reading:
    """Read one file. Faults and warnings are returned, not raised and given.

    Only the pixel size is kept of a DICOM header.
    """
    with held_back() as messages:
        reading = _read(path)
    return reading._replace(warnings=tuple(messages))


def _read(path: str) -> Reading:
    unknown = (np.nan, np.nan)
    try:
        image, facts = read_scan(path, return_metadata=True)
    except (OSError, UnreadableScanError) as error:
        return Reading(None, unknown, reason_of(error, path))
    except MemoryError:
        raise
    except Exception as error:
        # The text of the error may quote the file.
        return Reading(None, unknown, f"cannot be read ({type(error).__name__})")
    spacing = facts["pixel_spacing"] or unknown
    if not are_plausible(np.array([spacing], dtype=float))[0]:
        spacing = unknown
    return Reading(image, (float(spacing[0]), float(spacing[1])), "")


def read_ahead(
    batches: Iterable[T],
    paths_of: Callable[[T], list[str]],
    n_threads: int | None = None,
) -> Iterator[tuple[T, list[Reading]]]:
    """Yield batches with their scans, while threads read the next two batches.

    At most three batches of scans are in memory at a time.
    """
    with ThreadPoolExecutor(n_threads or joblib.cpu_count()) as pool:
        pending: deque[tuple[T, list[Any]]] = deque()
        try:
            for batch in batches:
                futures = [pool.submit(read_file, path) for path in paths_of(batch)]
                pending.append((batch, futures))
                del futures
                if len(pending) > 2:
                    yield _finished(pending)
            while pending:
                yield _finished(pending)
        finally:
            for _, futures in pending:
                for future in futures:
                    future.cancel()


def _finished(
    pending: deque[tuple[T, list[Any]]],
) -> tuple[T, list[Reading]]:
    batch, futures = pending.popleft()
    return batch, [future.result() for future in futures]
