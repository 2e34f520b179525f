"""Images that lie in files of labels."""

import io

from PIL import Image

from cvkit.data.decode import MAX_PIXELS, ignore_warnings_of_pillow


def open_embedded(content: bytes) -> Image.Image:
    """Return an opened PNG, of which no pixel has been decoded.

    Raises:
        ValueError: it has more than 100 megapixels.
        OSError, SyntaxError: it is no PNG.
    """
    ignore_warnings_of_pillow()
    try:
        image = Image.open(io.BytesIO(content), formats=["PNG"])
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels are too many")
    return image
