"""Label masks: from index PNGs and colour-coded PNGs to class indices."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cvkit.data.decode import decode, is_deep, open_image
from cvkit.errors import DataError, UsageError
from cvkit.structures import IGNORE, VOC_PALETTE, ClassList, voc_color
from cvkit.texts import counted

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class MaskMap:
    """The content of `--mask-map`: new class indices for grey values and for colours."""

    values: dict[int, int] = field(default_factory=dict)
    colors: dict[RGB, int] = field(default_factory=dict)


def parse_mask_map(text: str) -> MaskMap:
    """Return the map written as `255=1,7=0` or `#e0e0c0=255`.

    Raises:
        UsageError: an entry is malformed or outside 0..255.
    """
    values: dict[int, int] = {}
    colors: dict[RGB, int] = {}
    for entry in text.split(","):
        match = re.fullmatch(r"\s*(0*\d{1,3}|#[0-9a-fA-F]{6})\s*=\s*(0*\d{1,3})\s*", entry)
        if not match or int(match[2]) > 255 or (match[1][0] != "#" and int(match[1]) > 255):
            raise UsageError(
                f"--mask-map entry {entry!r} is not FROM=TO",
                code="mask_map.syntax",
                hint="such as 255=1,254=255 or #e0e0c0=255, with numbers from 0 to 255",
            )
        if match[1].startswith("#"):
            red, green, blue = bytes.fromhex(match[1][1:])
            colors[red, green, blue] = int(match[2])
        else:
            values[int(match[1])] = int(match[2])
    return MaskMap(values, colors)


BINARY = "255=1"
"""`--mask-map` of masks that contain 0 and 255 only, which would otherwise have a single class."""


@dataclass(frozen=True)
class Drawing(ABC):
    """A mask that is made from other data than an image of class indices.

    Attributes:
        file: that it is made from, or the image, for messages.
        classes: whose indices are its values.
    """

    file: Path
    classes: ClassList

    def __str__(self) -> str:
        return str(self.file)

    @property
    @abstractmethod
    def rule(self) -> str:
        """Everything besides the content of its file on which its values depend."""

    @abstractmethod
    def values(self) -> np.ndarray:
        """Return HW uint8 class indices, with `IGNORE` for pixels without a label.

        Raises:
            DataError: its file is unusable.
        """


@dataclass(frozen=True)
class MaskReader:
    """Reads the masks of one dataset.

    Attributes:
        num_classes: labels must be below it; None while the classes are being determined.
        colors: class index of each colour, for RGB masks and palettes.
        mask_map: replaces values (or colours) before anything else.
        ignore_index: value, after the map, of pixels without a label.
        trust_voc_palette: VOC's palette may decide the class of a value.
    """

    num_classes: int | None = None
    colors: dict[RGB, int] = field(default_factory=dict)
    mask_map: MaskMap = field(default_factory=MaskMap)
    ignore_index: int = IGNORE
    trust_voc_palette: bool = True

    def read(self, mask: Path | Drawing) -> np.ndarray:
        """Return a mask as HW uint8 class indices, with `IGNORE` for pixels without a label.

        Raises:
            DataError: `mask.value_range` names a label outside the classes; `mask.lossy`,
                `mask.16bit`, `mask.float`, `mask.color`, `mask.palette` and the errors of
                `cvkit.data.decode`.
        """
        table = self._lookup_table()
        if isinstance(mask, Drawing):
            path, raw = mask.file, mask.values()
            table[IGNORE] = IGNORE_MARK
        else:
            path, raw = mask, self._read_values(mask)
        limit = IGNORE if self.num_classes is None else self.num_classes
        outside = (table >= limit) & (table != IGNORE_MARK)
        if outside[_occurring(raw)].any():
            wrong = outside[raw]
            value = int(raw[wrong][0])
            raise DataError(
                f"{path}: mask value {value} at {counted(int(wrong.sum()), 'pixel')} is outside "
                f"the {limit} classes 0..{limit - 1}",
                code="mask.value_range",
                hint=f"list more classes in classes.txt, or use --mask-map {value}=NEW or "
                f"--ignore-index {value}",
            )
        return cv2.LUT(raw, table.astype(np.uint8))  # the mark wraps around to IGNORE

    def _lookup_table(self) -> np.ndarray:
        table = np.arange(256, dtype=np.int16)
        for value, index in self.mask_map.values.items():
            table[value] = index
        table[table == self.ignore_index] = IGNORE_MARK
        return table

    def _read_values(self, path: Path) -> np.ndarray:
        """Return HW uint8 values as stored, with colours converted to indices."""
        with open_image(path) as image:
            if image.format in ("JPEG", "MPO"):
                raise DataError(
                    f"{path} is a JPEG; its compression changes labels",
                    code="mask.lossy",
                    hint="save masks as PNG",
                )
            if is_deep(image):
                raise DataError(
                    f"{path} is a mask with 16 bits in each of several channels",
                    code="mask.16bit",
                    hint="save it as an 8-bit grey or palette PNG",
                )
            decode(image, path)
            if image.mode == "1":
                return np.asarray(image).astype(np.uint8)
            if image.mode == "L":
                return np.asarray(image)
            if image.mode in ("P", "PA"):
                return self._index_palette(image, path)
            if image.mode == "LA":
                return np.asarray(image)[..., 0]
            values = np.asarray(image)
            if values.ndim == 3 and image.mode not in ("RGB", "RGBA"):
                values = np.asarray(image.convert("RGB"))
        if values.ndim == 2:
            return _narrow(values, path)
        return self._index_colors(values[..., :3], path)

    def recolors(self, path: Path) -> bool:
        """Return whether a readable mask is a palette image that is read by its colours."""
        if not self.colors:
            return False
        with open_image(path) as image:
            if image.mode not in ("P", "PA"):
                return False
            values = _first_channel(decode(image, path))
            return not np.array_equal(self._index_palette(image, path), values)

    def _index_palette(self, image: Image.Image, path: Path) -> np.ndarray:
        """Return HW uint8 class indices of a palette mask.

        They are its values, unless the palette gives one of them the colour of another class: then
            the colours decide, and each must belong to a class. Colours in `--mask-map` always
            apply. Values in `--mask-map` and `--ignore-index` are never converted.
        """
        values = _first_channel(image)
        if not self.colors and not self.mask_map.colors:
            return values
        palette = _palette(image)
        named = {self.ignore_index, *self.mask_map.values}
        used = [value for value in _occurring(values).tolist() if value not in named]
        colors = {value: palette[value] for value in used if value < len(palette)}
        mapped = self.mask_map.colors
        replaced = {value: mapped[c] for value, c in colors.items() if c in mapped}
        left = [value for value in used if value not in replaced]
        meant = {v: self.colors[c] for v, c in colors.items() if v in left and c in self.colors}
        wrong = [value for value, index in meant.items() if index != value]
        if wrong and self._says_nothing(palette):
            wrong = []
        if not wrong and not replaced:
            return values
        unknown = [value for value in left if value not in meant]
        if wrong and unknown:
            raise self._contradiction(path, wrong[0], unknown[0], colors[wrong[0]])
        table = np.arange(256, dtype=np.uint8)
        for value, index in (replaced | (meant if wrong else {})).items():
            table[value] = index
        return table[values]

    def _says_nothing(self, palette: list[RGB]) -> bool:
        """Return whether a palette is irrelevant: VOC's, if the classes have other colours.

        Many programs write VOC's palette to all their files.
        """
        count = len(palette)
        if palette != [tuple(VOC_PALETTE[3 * n : 3 * n + 3]) for n in range(count)]:
            return False
        first = {voc_color(index) for index in range(self.num_classes or 0)}
        return not (self.trust_voc_palette and self.colors.keys() <= first)

    def _contradiction(self, path: Path, wrong: int, unknown: int, color: RGB) -> DataError:
        red, green, blue = color
        return DataError(
            f"{path}: its palette gives value {wrong} the colour #{red:02x}{green:02x}{blue:02x}, "
            f"which classes.txt gives to class {self.colors[color]}, and value {unknown} a "
            "colour that belongs to no class",
            code="mask.palette",
            hint="give each class its palette colour in classes.txt, or remove the colours there "
            "to read the values",
        )

    def _index_colors(self, rgb: np.ndarray, path: Path) -> np.ndarray:
        """Return HW uint8 class indices of an HW3 colour-coded mask."""
        colors = self.colors | self.mask_map.colors
        if not colors and (rgb == rgb[..., :1]).all():
            return np.ascontiguousarray(rgb[..., 0])  # a grey index mask saved as RGB
        packed = rgb.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)  # [H, W]
        known = {(r << 16) + (g << 8) + b: index for (r, g, b), index in colors.items()}
        found, inverse = np.unique(packed, return_inverse=True)
        unknown = [int(color) for color in found if int(color) not in known]
        if unknown:
            shown = ", ".join(f"#{color:06x}" for color in unknown[:3])
            raise DataError(
                f"{path} is a colour mask with {counted(len(unknown), 'colour')} that belong to "
                f"no class: {shown}",
                code="mask.color",
                hint="give each class its colour in classes.txt (name R G B), or use "
                f"--mask-map '#{unknown[0]:06x}=INDEX'",
            )
        indices = np.array([known[int(color)] for color in found], dtype=np.uint8)
        return indices[inverse].reshape(packed.shape)


IGNORE_MARK = np.int16(511)
"""Represents "no label" while 255 may still be an ordinary value; as uint8 it is `IGNORE`."""


def _occurring(values: np.ndarray) -> np.ndarray:
    """Return the values that occur in an HW uint8 array, ascending."""
    counts = cv2.calcHist([np.ascontiguousarray(values)], [0], None, [256], [0, 256])
    return np.flatnonzero(counts)


def _first_channel(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    return values if values.ndim == 2 else values[..., 0]


def _palette(image: Image.Image) -> list[RGB]:
    flat = image.getpalette("RGB") or []
    return list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))


BILEVEL = 2**16 - 1
"""White in 16-bit masks of black and white, which is read as 255."""


def _narrow(values: np.ndarray, path: Path) -> np.ndarray:
    whole = np.isfinite(values) & (values == np.round(values))
    if not whole.all():
        raise DataError(
            f"{path}: mask value {values[~whole][0]:g} is not a whole number",
            code="mask.float",
            hint="masks contain class indices from 0 to 255; save them as 8-bit PNGs",
        )
    if values.max() == BILEVEL and np.isin(values, (0, BILEVEL)).all():
        return (values >> 8).astype(np.uint8)
    if values.min() < 0 or values.max() > 255:
        raise DataError(
            f"{path}: mask value {int(values.max())} does not fit into 8 bits",
            code="mask.16bit",
            hint="masks contain class indices from 0 to 255",
        )
    return values.astype(np.uint8)
