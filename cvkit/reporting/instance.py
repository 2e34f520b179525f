"""The report of instance segmentation: that of detection, with overlaps of masks."""

from cvkit.reporting import detect


class Pages(detect.Pages):
    """The report of an evaluation."""

    HEADLINES: tuple[str, ...] = ("mask.AP", "mask.AP50", "mask.AP75", "box.AP", "mask.AR100")
