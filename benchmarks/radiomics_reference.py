"""Write tests/radiomics_reference.json: radiomics of a made-up image, by mirp.

Run it by hand, in an environment of its own::

    pip install mirp==2.7.0
    python benchmarks/radiomics_reference.py

Mirp is a second implementation of the IBSI's definitions, by other authors. The tests
do not depend on it: they read what it wrote.
"""

import json
import logging
from pathlib import Path

import numpy as np
from mirp import extract_features

N_LEVELS = 16
FAMILIES = ["stat", "ih", "cm", "rlm", "szm", "ngldm", "ngtdm"]

logging.disable(logging.CRITICAL)
y, x = np.mgrid[:23, :31]
image = np.round(
    1000
    * (
        np.sin(x * 0.7 + 0.3 * y)
        + np.cos(y * 1.1 - 0.05 * x * x)
        + 0.3 * np.sin(x * y * 0.37)
    )
)
ellipse = ((y - 11) / 11.5) ** 2 + ((x - 15) / 15.5) ** 2 < 1
found = {"image": image.astype(int).tolist()}
for name, mask in {"box": np.ones_like(ellipse), "ellipse": ellipse}.items():
    table = extract_features(
        image=image[np.newaxis],
        mask=mask[np.newaxis],
        by_slice=True,
        base_discretisation_method="fixed_bin_number",
        base_discretisation_n_bins=N_LEVELS,
        base_feature_families=FAMILIES,
        glcm_spatial_method="2d_average",
        glrlm_spatial_method="2d_average",
    )[0]
    features = {
        column.replace("_d1", "")
        .replace("_a0.0", "")
        .replace("_2d_avg", "_2d")
        .replace("_2d", "")
        .replace(f"_fbn_n{N_LEVELS}", ""): float(table[column].iloc[0])
        for column in table
        if column.split("_")[0] in ("stat", "ih", "cm", "rlm", "szm", "ngl", "ngt")
    }
    found[name] = {"mask": mask.astype(int).tolist(), "features": features}
tests = Path(__file__).parents[1] / "tests"
(tests / "radiomics_reference.json").write_text(json.dumps(found) + "\n")
