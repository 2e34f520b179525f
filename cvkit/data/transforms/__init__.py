"""Random transforms for training, by albumentations.

Only the modules of this package import albumentations, and only training imports them.
"""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = (
    "1"  # otherwise its import checks for a new version over the network
)
