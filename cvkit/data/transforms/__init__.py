"""Random transforms for training, by albumentations.

Only the modules of this package import albumentations, and only training imports them.
"""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import asks the network for its version
