"""A folder of images of one size -> one row per image, one column per pixel and channel."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from howfar._errors import DataError
from howfar.data.arrays import from_arrays
from howfar.data.columns import Source
from howfar.data.complaints import refuse

if TYPE_CHECKING:
    from pathlib import Path

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_MOST_FEATURES = 2**14
_MODES = {"1": "L", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "P": "RGB"}


def read_images(folder: Path) -> Source:
    """Images in the order of their names, 8 bits per channel, pixel values in [0, 1]."""
    import numpy as np

    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS)
    if not paths:
        raise refuse(
            folder, "a file, or a folder of images", f"a folder without {', '.join(EXTENSIONS)}", "Pass a file."
        )
    first = _pixels(paths[0])
    if first.size > _MOST_FEATURES:
        raise refuse(
            paths[0],
            f"images of at most {_MOST_FEATURES} numbers each",
            f"{first.size} (shape {first.shape})",
            "Resize them, or pass features of a network instead of pixels.",
        )
    rows = [first]
    for path in paths[1:]:
        pixels = _pixels(path)
        if pixels.shape != first.shape:
            raise refuse(
                path,
                f"an image of shape {first.shape}, that of {paths[0].name}",
                f"{pixels.shape}",
                "Resize the images to one size and colour mode.",
            )
        rows.append(pixels)
    source = from_arrays({"": np.stack(rows).reshape(len(rows), -1)}, str(folder))
    source.notes.append(f"{folder}: {len(rows)} images of shape {first.shape}, one column per pixel and channel.")
    return source


def _pixels(path: Path) -> Any:
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                transparent = "transparency" in image.info
                mode = ("RGBA" if transparent else "RGB") if image.mode == "P" else _MODES.get(image.mode)
                if mode is None:
                    raise refuse(
                        path, f"a mode among {', '.join(_MODES)}", image.mode, "Convert it to 8 bits per channel."
                    )
                return np.asarray(image.convert(mode), dtype=np.float32) / 255
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise refuse(path, "an image of ordinary size", "too many pixels", "Resize it.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise refuse(path, "a readable image", str(error), "Save the image again, or move it elsewhere.") from None
