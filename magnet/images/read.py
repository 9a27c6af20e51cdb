"""Reading images, and turning them into what the networks see.

Whatever a file holds becomes 8-bit RGB, upright as its EXIF tag says: grey and palette colours are expanded, CMYK is
converted, and what is transparent is laid over black. 16-bit grey is scaled by its full range (PNG: whatever sBIT says,
as the format scales samples up), or by the range that a TIFF states (MinSampleValue and MaxSampleValue, SMin..., or 12
bits a sample); 16-bit colour keeps its high byte, which is what Pillow decodes of it. Of animations the first picture
is read. Bands that a TIFF does not call alpha are left out, and that is told; what would be decoded wrongly, or has
no known range, is refused (:mod:`magnet.images.tiff`).
"""

from __future__ import annotations

import math
import os

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from magnet.errors import MagNetError
from magnet.images.deflate import check_pieces
from magnet.images.opening import (
    CorruptImageError,
    LargeImageError,
    check_file,
    failures,
    opened,
    too_large,
    unreadable,
)
from magnet.images.tiff import TiffHead, head_of, mend_palette, read_head
from magnet.images.whole import whole
from magnet.notices import tell

__all__ = [
    "BACKGROUND",
    "IMAGE_SUFFIXES",
    "CorruptImageError",
    "LargeImageError",
    "checked_head",
    "flatten",
    "full_range",
    "high_bytes",
    "is_large",
    "orientation",
    "read_grey",
    "read_image",
    "read_opaque",
    "read_turned",
    "rgb_array",
    "scaled",
    "tell_dark",
    "tell_left_out",
    "tell_outside",
    "unreadable",
    "unturned",
    "upright",
]

BACKGROUND = (0, 0, 0)  # under what is transparent
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
_ORIENTATION = 0x0112  # the EXIF tag
_UNTURNED = {1: (False, 0, 0), 2: (False, 0, 1), 3: (False, 1, 1), 4: (False, 1, 0)}  # swapped; rows, columns flipped
_UNTURNED |= {5: (True, 0, 0), 6: (True, 1, 0), 7: (True, 1, 1), 8: (True, 0, 1)}
_DARK = 43  # a sixth of 16 bits, as a high byte: reflectances of 0 to 10000 stay below
_MOST_OF_THEM = 0.99  # of the values; a few bright pixels make no bright image


def read_image(path: str | os.PathLike[str], *, upright: bool = True) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB, upright as its EXIF tag says, or as its rows are stored.

    Raises:
        CorruptImageError: the file is not an image, is corrupt or truncated, or has pixels without a known meaning.
        LargeImageError: it has more pixels than Pillow reads at once (``PIL.Image.MAX_IMAGE_PIXELS``).
        MagNetError: it does not exist, is no file, or may not be read. All of these are MagNetErrors.
    """
    return read_turned(path, upright=upright)[0]


def read_turned(
    path: str | os.PathLike[str], *, upright: bool = True, page: int | None = None
) -> tuple[np.ndarray, int]:
    """As :func:`read_image`, and the orientation tag of the file: 1 where there is none.

    Args:
        page: the number of a page that a TIFF has, from 0; None: it has to be one picture.
    """
    head = checked_head(path, page)
    try:
        with opened(path) as image:
            if page:
                image.seek(page)
            if _past_limit(image):
                raise too_large(path, f"{image.width * image.height} pixels")
            if image.format != "TIFF" and getattr(image, "is_animated", False):
                found = f"holds {image.n_frames} pictures, of which the first is read"  # type: ignore[attr-defined]
                tell("hold several pictures", path, found, "save the one that is meant as a file of its own")
            with whole(image, path):
                pixels, turned = _read(image, head, path, upright)
            if head and head.deflated:
                if head.meaning == "RGB" and head.bands == 3:  # they are at hand, as Pillow's own take a while to get
                    stored = unturned(pixels, turned) if upright else pixels
                else:
                    stored = unturned(np.asarray(image), turned)
                check_pieces(path, head.deflated, stored)
            return pixels, turned
    except CorruptImageError as error:
        if head is not None and head.uncommon:
            raise CorruptImageError(
                f"image: expected a TIFF that is not compressed, or by deflate, LZW, JPEG or zstd, got compression "
                f"{head.compression}, which Pillow does not decode here; save it anew: '{path}'"
            ) from error
        if head is not None and isinstance(error.__cause__, UnidentifiedImageError):
            raise CorruptImageError(
                f"image: expected 8 or 16 bits of grey, RGB or CMYK, got {head}, which Pillow does not read; save it "
                f"as an 8-bit RGB image: '{path}'"
            ) from error
        raise


def checked_head(path: str | os.PathLike[str], page: int | None = None) -> TiffHead | None:
    """The head of a TIFF whose pixels can be read as they are meant; None for other files. Errors name the file.

    Args:
        page: as of :func:`read_turned`.
    """
    check_file(path)
    with failures(path):
        head = read_head(path, page)
    if head is not None:
        try:
            head.check()
        except CorruptImageError as error:
            raise type(error)(f"{error}: '{path}'") from None
    return head


def _past_limit(image: Image.Image) -> bool:
    return image.width * image.height > (math.inf if Image.MAX_IMAGE_PIXELS is None else Image.MAX_IMAGE_PIXELS)


def is_large(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an image past Pillow's size limit; False for what cannot be opened."""
    try:
        with opened(path) as image:
            return _past_limit(image)
    except LargeImageError:
        return True
    except MagNetError:
        return False


def rgb_array(image: Image.Image) -> np.ndarray:
    """A PIL image of any kind as (H, W, 3) uint8 RGB, upright as its EXIF tag says; see the module for the rules.

    Raises:
        CorruptImageError: pixels whose range is not known, or a TIFF that Pillow decodes wrongly.
    """
    head = head_of(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
    if head is not None:
        head.check()
    return _read(image, head, getattr(image, "filename", "") or "image", True)[0]


def _read(
    image: Image.Image, head: TiffHead | None, path: str | os.PathLike[str], upright: bool
) -> tuple[np.ndarray, int]:
    """Pixels of an opened image, and its orientation tag."""
    deep = head.bits > 8 if head else _is_deep(image)  # first, as to ask for EXIF may load a PNG
    turned = head.turned if head else orientation(image)
    mend_palette(image)
    image.load()
    if head:  # Pillow turns a TIFF as it loads it
        tell_left_out(head, path)
        if head.left_out and image.mode == "RGBA" and not head.alpha:
            image = image.convert("RGB")  # and takes a fourth band for alpha where the file says nothing
    elif upright:
        image = ImageOps.exif_transpose(image)
    if deep and image.mode[0] in "IF":
        values = np.array(image)  # convert() would clip all above 255
        if head and head.kind == "unsigned" and head.bits == 32:
            values = values.view(np.uint32)
        if head and head.white_is_zero:
            values = 0xFFFF - values
        pixels = np.repeat(_grey(values, head, path)[..., None], 3, axis=2)
    else:
        if deep:
            colours = np.asarray(image)[..., : -1 if image.mode.endswith("A") else None]
            tell_dark(path, high_bytes(colours))
        pixels = flatten(image)
    return (unturned(pixels, turned) if head and not upright else pixels), turned


def read_opaque(path: str | os.PathLike[str], *, upright: bool = True, page: int | None = None) -> np.ndarray | None:
    """Where an image that :func:`read_image` reads is not fully transparent, (H, W) bool; None: it has no alpha."""
    head = checked_head(path, page)
    with opened(path) as image:
        if page:
            image.seek(page)
        if not _has_alpha(image) or (head and not head.alpha and head.bands > head.colours):
            return None
        turned = head.turned if head else orientation(image)
        image.load()
        if not head and upright:
            image = ImageOps.exif_transpose(image)
        opaque = np.asarray(image.convert("LA" if image.mode == "La" else "RGBA").getchannel("A")) > 0
        return unturned(opaque, turned) if head and not upright else opaque


def read_grey(path: str | os.PathLike[str], *, upright: bool = True) -> tuple[np.ndarray, int] | None:
    """The values of a grey picture that is no TIFF, as they are stored, and its orientation tag.

    Returns:
        (H, W) uint8 or uint16, upright as the EXIF tag says, or as stored; None: it has colours, or is transparent.

    Raises:
        CorruptImageError, LargeImageError, MagNetError: as :func:`read_image`.
    """
    with opened(path) as image:
        deep = image.format == "PNG" and image.mode in ("I;16", "I")  # "I": 16 bits, as older Pillows call them
        if image.format == "TIFF" or not (deep or image.mode in ("1", "L")) or _has_alpha(image):
            return None
        if _past_limit(image):
            raise too_large(path, f"{image.width * image.height} pixels")
        with whole(image, path):
            turned = orientation(image)
            image.load()
        if upright:
            image = ImageOps.exif_transpose(image)
        return (np.array(image).astype(np.uint16) if deep else np.array(image.convert("L"))), turned


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _is_deep(image: Image.Image) -> bool:
    """Whether a file that is no TIFF has 16 bits a channel; ask before it is loaded."""
    if image.mode == "I":
        return image.format in ("PNG", "PPM")  # older Pillows' 16-bit grey, and what any PPM past 8 bits is scaled to
    return image.mode.startswith("I;16") or (
        image.format == "PNG" and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    )


def orientation(image: Image.Image) -> int:
    """The orientation tag of an opened image that is no TIFF: 1 to 8, 1 where there is none."""
    turned = image.getexif().get(_ORIENTATION, 1)
    return turned if turned in _UNTURNED else 1


def unturned(pixels: np.ndarray, turned: int) -> np.ndarray:
    """An upright image as its rows and columns were stored under an orientation tag."""
    swapped, rows, columns = _UNTURNED[turned]
    if swapped:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])


def upright(pixels: np.ndarray, turned: int) -> np.ndarray:
    """Rows and columns as they are stored turned as an orientation tag says."""
    swapped, rows, columns = _UNTURNED[turned]
    pixels = pixels[:: -1 if rows else 1, :: -1 if columns else 1]
    return np.ascontiguousarray(pixels.swapaxes(0, 1) if swapped else pixels)


def flatten(image: Image.Image) -> np.ndarray:
    """A PIL image of 8-bit channels as (H, W, 3) uint8 RGB, without turning it.

    Raises:
        CorruptImageError: channels of 32 bits, whose range is not known.
    """
    if image.mode[0] in "IF":
        raise CorruptImageError(
            f"image: expected 8 or 16 bits a channel, got 32 (mode {image.mode}); scale the values to 0..255"
        )
    if image.mode == "La":
        image = image.convert("LA")
    if _has_alpha(image):
        rgba = image.convert("RGBA")
        image = Image.new("RGB", image.size, BACKGROUND)
        image.paste(rgba, mask=rgba.getchannel("A"))
    return np.array(image.convert("RGB"))


def _grey(values: np.ndarray, head: TiffHead | None, path: str | os.PathLike[str]) -> np.ndarray:
    if head and head.limits:
        tell_outside(path, values, head.limits)
        return scaled(values, head.limits)
    tell_dark(path, high_bytes(values >> 8))
    return full_range(values)


def full_range(grey: np.ndarray) -> np.ndarray:
    """16-bit grey values 0..65535 -> uint8, rounded to nearest."""
    return ((grey.astype(np.uint32) * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8)


def scaled(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Values of any type -> uint8: ``limits`` become 0 and 255, what is beyond them is clipped, NaN is 0."""
    share = (values.astype(np.float64) - limits[0]) / (limits[1] - limits[0])
    return np.rint(np.clip(np.nan_to_num(share, nan=0.0), 0, 1) * 255).astype(np.uint8)


def high_bytes(values: np.ndarray) -> np.ndarray:
    """How often each high byte is there, (256,)."""
    return np.bincount(values.astype(np.uint8, copy=False).ravel(), minlength=256)


def tell_dark(path: str | os.PathLike[str], counts: np.ndarray) -> None:
    """Tell of a 16-bit image of which most values lie under a sixth of what there is room for.

    Args:
        path: the file.
        counts: (256,) how often each high byte is there: of 16-bit colour there are no others.
    """
    if not counts.any():
        return
    most = int(np.searchsorted(np.cumsum(counts), _MOST_OF_THEM * counts.sum()))
    if most < _DARK:
        tell(
            "use less than a sixth of the range of 16 bits",
            path,
            f"has 16 bits, but 99% of its values lie below {most + 1 << 8} of 65536, and it comes out nearly black",
            "scale the values to the whole range, or save 8 bits",
        )


def tell_outside(path: str | os.PathLike[str], values: np.ndarray, limits: tuple[float, float]) -> bool:
    """Tell of values that a TIFF holds outside of the range that it states, and of those that are no numbers.

    Args:
        path: the file.
        values: of any shape and type, as stored.
        limits: the range.

    Returns:
        Whether there are any.
    """
    outside = values.size - int(np.count_nonzero((values >= limits[0]) & (values <= limits[1])))
    if outside:
        tell(
            "hold values outside of the range that they state",
            path,
            f"states values from {limits[0]:g} to {limits[1]:g}, but {outside} of {values.size} are none of these "
            "(nodata, NaN?), and come out black or white",
            "state the range that the values have, or scale them to 0..255",
        )
    return bool(outside)


def tell_left_out(head: TiffHead, path: str | os.PathLike[str]) -> None:
    """Tell of bands of a TIFF that are not read."""
    if head.left_out:
        bands = ", ".join(map(str, head.left_out))
        tell(
            "have bands that are neither colour nor alpha, which are left out",
            path,
            f"has bands that it does not call alpha (near infrared?): {bands} of {head.bands}, which are left out",
            "if one is alpha, say so in ExtraSamples",
        )
