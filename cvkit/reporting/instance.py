"""The report of instance segmentation: that of detection, with overlaps of masks."""

from cvkit.reporting import detect


class Pages(detect.Pages):
    """The report of an evaluation."""

    HEADLINES: tuple[str, ...] = (
        *("mask.AP", "mask.AP50", "mask.AP75", "mask.voc07_map", "mask.voc12_map", "box.AP"),
        *("mask.AR100", "box.voc07_map", "box.voc12_map"),
    )
