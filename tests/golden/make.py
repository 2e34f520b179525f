"""Write what the models that come with cvkit predict of the samples.

    python tests/golden/make.py

Run it after replacing a file of `weights/`, and look at what changes.
"""

import json
import os
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
FILE = FOLDER / "predictions.json"
TASKS = {
    "shapes": "classify",
    "scenes": "segment",
    "boxes": "detect",
    "masks": "detect",
    "motions": "video",
}
"""Names of the weights, and the folders of the samples that they are shown."""
FIRST = 4
"""Images or videos of each."""


def inputs(name):
    """Return the samples that a model is shown, by their paths in the project."""
    folder = ROOT / "samples" / TASKS[name]
    kinds = {".png", ".jpg", ".mp4", ".avi", ".gif"}
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in kinds and "masks" not in p.parts]
    return files[:: max(1, len(files) // FIRST)][:FIRST]


def described(result):
    """Return a result as numbers."""
    values = {}
    if hasattr(result, "confidence"):
        values["pixels"] = np.bincount(result.labels.ravel(), minlength=6).tolist()
        values["confidence"] = float(result.confidence.astype(float).mean())
        centres = [np.argwhere(result.labels == k) for k in range(1, 6)]
        values["centres_yx"] = [c.mean(0).tolist() if len(c) > 20 else None for c in centres]
    elif hasattr(result, "boxes"):
        sure = result.scores > 0.3
        for field in ("boxes", "scores"):
            values[field] = getattr(result, field)[sure].tolist()
        values["labels"] = (result.labels[sure] + 1).tolist()  # as the model numbers them
        if result.masks is not None:
            values["areas"] = result.masks[sure].sum((1, 2)).astype(float).tolist()
    else:
        values["scores"] = result.scores.tolist()
    return values


def predictions(name):
    """Return what a model says of each of its samples, by their paths in the project."""
    import cvkit

    model = cvkit.load(ROOT / "weights" / f"{name}.safetensors", precision="fp32", device="cpu")
    files = inputs(name)
    found = model.predict(files)
    keys = [str(file.relative_to(ROOT)) for file in files]
    return {key: described(result) for key, result in zip(keys, found, strict=True)}


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    FILE.write_text(json.dumps({name: predictions(name) for name in TASKS}, indent=1) + "\n")
