"""Adapt the knowledge learned from phantoms to the scans and boxes of one site."""

import numpy as np
import torch
from scipy.stats import median_abs_deviation

from tbsclassify.datasets import make_dxa_phantoms
from tbsclassify.localization._decode import (
    N_LEVELS,
    Habits,
    locate_known,
    windows_at,
)
from tbsclassify.localization._levels import SHIFTS, LevelModel
from tbsclassify.localization._network import (
    SpineNetwork,
    network_of,
    segment,
    state_of,
)
from tbsclassify.localization._prepare import Picture, prepare_scan, to_frame
from tbsclassify.localization._targets import (
    box_examples,
    edges_of_boxes,
    mask_examples,
)
from tbsclassify.localization._training import draw_batches, train_network
from tbsclassify.localization._weights import Knowledge

C = 1e-3  # of the level model, learned from thousands of phantoms
PHANTOM_SIZE = (224, 224)

_LR = 1e-3
_BATCH = 24  # half of it phantoms
_N_PHANTOMS = (5, 200)  # for each scan, and at most
_SITE_C, _TRUST = 1e-4, 0.2  # of the level model, learned from few scans
_PRIOR_SCANS = 5  # that the shipped habits count for


# Gradients are needed even if the caller has disabled them.
@torch.inference_mode(False)
@torch.enable_grad()
def adapt(
    knowledge: Knowledge,
    pictures: list[Picture],
    boxes: np.ndarray,
    n_steps: int,
    seed: int,
) -> tuple[Knowledge, np.ndarray]:
    """Return the adapted knowledge, and where boxes end (see `margins_of`).

    Parameters
    ----------
    knowledge : Knowledge
        The knowledge learned from phantoms.
    pictures : list of Picture
        The site's scans.
    boxes : ndarray of shape (n, 4, 4)
        Their boxes of L1-L4 in pixels.
    n_steps : int
        Training steps of the network.
    seed : int
        Seed of phantoms and batches.
    """
    per_scan, most = _N_PHANTOMS
    phantoms = make_dxa_phantoms(
        min(per_scan * len(pictures), most),
        appearance="varied",
        size=PHANTOM_SIZE,
        return_masks=True,
        random_state=seed,
    )
    of_phantoms = [prepare_scan(scan) for scan in phantoms.images]
    network = network_of(knowledge.network)
    generator = torch.Generator().manual_seed(seed)
    batches = draw_batches(
        [
            (box_examples(pictures, boxes), _BATCH // 2),
            (mask_examples(of_phantoms, phantoms.masks), _BATCH // 2),
        ],
        generator,
    )
    for _ in train_network(network, batches, n_steps, lr=_LR):
        pass

    adapted = Knowledge(
        state_of(network),
        _adapt_levels(network, (of_phantoms, phantoms.boxes), (pictures, boxes)),
        habits_of(pictures, boxes, _TRUST, knowledge.habits),
    )
    return adapted, margins_of(network, pictures, boxes)


def _adapt_levels(
    network: SpineNetwork,
    phantoms: tuple[list[Picture], np.ndarray],
    site: tuple[list[Picture], np.ndarray],
) -> LevelModel:
    """Fit the level model to phantoms and to a site, with the same weight for both."""
    windows, shifts = level_windows(network, *phantoms)
    site_windows, site_shifts = level_windows(network, *site)
    weights = np.r_[
        np.ones(len(windows)),
        np.full(len(site_windows), len(windows) / len(site_windows)),
    ]
    return LevelModel.fit(
        np.vstack([windows, site_windows]),
        np.r_[shifts, site_shifts],
        _SITE_C,
        weights,
    )


def level_windows(
    network: SpineNetwork, pictures: list[Picture], boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return windows shifted by up to two levels, and their shifts."""
    windows = [
        windows_at(
            picture.pixels, segment(network, picture.pixels), _edges(picture, given)
        )
        for picture, given in zip(pictures, boxes, strict=True)
    ]
    return np.concatenate(windows), np.tile(SHIFTS, len(windows))


def habits_of(
    pictures: list[Picture],
    boxes: np.ndarray,
    trust: float,
    usual: Habits | None = None,
) -> Habits:
    """Return how scans are framed, shrunk towards the usual habits if scans are few.

    Means and deviations are robust, since a few scans may show another region.
    """
    edges = np.stack(
        [_edges(picture, given) for picture, given in zip(pictures, boxes, strict=True)]
    )
    middle, spacing = edges[:, [0, -1]].mean(axis=1), np.ptp(edges, axis=1) / N_LEVELS
    seen = np.ravel(
        [
            (np.median(x), median_abs_deviation(x, scale="normal"))
            for x in (middle, spacing)
        ]
    )
    if usual is not None:
        share = len(edges) / (len(edges) + _PRIOR_SCANS)
        seen = share * seen + (1 - share) * np.array(usual[:-1])
    mean, deviation, pitch, pitch_deviation = seen.tolist()
    return Habits(mean, deviation, pitch, pitch_deviation, trust)


def margins_of(
    network: SpineNetwork, pictures: list[Picture], boxes: np.ndarray
) -> np.ndarray:
    """Return how far boxes reach beyond the ones found: top, left, bottom, right.

    Medians over all vertebrae, in spacings of the vertebrae and in widths.
    """
    margins = []
    for picture, given in zip(pictures, boxes, strict=True):
        maps = segment(network, picture.pixels)
        edges, sides = locate_known(maps, _edges(picture, given))
        found = np.stack([edges[:-1], sides[:, 0], edges[1:], sides[:, 1]], axis=1)
        unit = np.ptp(edges) / N_LEVELS, np.ptp(sides, axis=1).mean()
        margins.append((to_frame(given, picture.frame) - found) / np.tile(unit, 2))
    return np.median(np.concatenate(margins), axis=0)


def _edges(picture: Picture, boxes: np.ndarray) -> np.ndarray:
    return edges_of_boxes(to_frame(boxes, picture.frame)[:, [0, 2]])
