"""Types of labels that are made when they are written."""

from collections.abc import Callable

import numpy as np

MaskLabels = Callable[[], np.ndarray]
"""Returns the HW uint8 class indices of an image, `IGNORE` for pixels without a label."""
