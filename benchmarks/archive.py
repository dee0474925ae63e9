"""Time the scoring of an archive against a bare loop, and watch its memory.

Run ``python benchmarks/archive.py N M``: the network scores M files, the variogram N
(default 20,000 both). 200 distinct phantoms, written by ``tbsclassify phantoms``, stand
for them: the others are hard links under other names, read and scored as any file is.

For each model, in a process of its own, ``predict_archive`` scores the files. A loop
without checks, read-ahead, table or resuming scores 800 of them, before and after;
both counts are printed. It reads sixteen files with Pillow, and cuts the middle out and
runs the network, or for the variogram the fitted Pipeline. Then the memory of the
process is printed, for each tenth of the archive.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.pipeline import make_pipeline

from tbsclassify import (
    LumbarCropper,
    TBSLabeler,
    TBSPretrainedClassifier,
    load_scans,
    make_texture_classifier,
    predict_archive,
)

N_DISTINCT = 200
N_LOOP = 800
BATCH_SIZE = 16
SIDE = 224


def write_archive(folder, n):
    """Return the table of the distinct phantoms, and a folder with n files."""
    command = [sys.executable, "-m", "tbsclassify", "phantoms", str(folder / "data")]
    subprocess.run([*command, "--patients", str(N_DISTINCT)], check=True)
    names = sorted((folder / "data" / "images").iterdir())
    for i in range(n):
        target = folder / "archive" / f"{i // 1000:03d}" / f"{i:06d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(names[i % len(names)], target)
    return load_scans(folder / "data" / "scans.csv", folder / "data" / "images")


def fit_models(scans):
    y = TBSLabeler().fit_transform(scans.tbs)
    bare = scans.frame[["image"]]  # no boxes, as in the archive
    network = TBSPretrainedClassifier(
        weights=None, precision="float32", device="cpu", random_state=0
    )
    return {
        "network": make_pipeline(LumbarCropper(), network).fit(
            bare, y, tbspretrainedclassifier__tbs=scans.tbs
        ),
        "variogram": make_texture_classifier().fit(bare, y),
    }


def bare_loop(model, files):
    """Return files a second of a loop that does nothing else."""
    module = None
    if hasattr(model[-1], "net_"):
        module = model[-1].net_.module_.eval()
    start = time.perf_counter()
    for first in range(0, len(files), BATCH_SIZE):
        scans = [np.asarray(Image.open(f)) for f in files[first : first + BATCH_SIZE]]
        if module is None:
            model.predict_proba(pd.DataFrame({"image": scans}))
            continue
        top, left = ((length - SIDE) // 2 for length in scans[0].shape)
        crops = [scan[top : top + SIDE, left : left + SIDE] for scan in scans]
        with torch.inference_mode():
            module(torch.from_numpy(np.stack(crops)[:, None]))
    return len(files) / (time.perf_counter() - start)


def resident():
    """Return the memory of this process in MiB, from Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def score(model_file, folder, n):
    model = joblib.load(model_file)
    files = [str(one) for one in sorted(Path(folder).rglob("*.png"))[:n]]
    loops = [bare_loop(model, files[:N_LOOP])]
    memory = [resident()]
    result = predict_archive(
        model,
        files,
        Path(model_file).with_suffix(".csv"),
        progress=lambda done, total: memory.append(resident()),
    )
    loops.append(bare_loop(model, files[:N_LOOP]))
    ours = result.n_scored / result.seconds
    print(
        f"{Path(model_file).stem}, {n} files: predict_archive {ours:.1f} files a "
        f"second; bare loop {loops[0]:.1f} before, {loops[1]:.1f} after; "
        f"{ours / np.mean(loops):.2f} of the loop's mean; {result.n_failed} failed"
    )
    tenths = [memory[(len(memory) - 1) * k // 10] for k in range(11)]
    print(
        f"  memory in MiB, at the start and after each tenth: "
        f"{', '.join(f'{one:.0f}' for one in tenths)}; peak {max(memory):.0f}",
        flush=True,
    )


def main():
    counts = [int(one) for one in sys.argv[1:3]] or [20_000]
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = fit_models(write_archive(folder, max(counts)))
        numbers = {"network": counts[-1], "variogram": counts[0]}
        for title, n in numbers.items():
            joblib.dump(models[title], folder / title)
            command = [sys.executable, *(f"-W{one}" for one in sys.warnoptions)]
            command += [__file__, "--score", str(folder / title)]
            subprocess.run([*command, str(folder / "archive"), str(n)], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--score"]:
        score(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
