"""Rasters: images of any size, type and number of channels, read by window from whatever they are stored in."""

from magnet.images.rasters.channels import Channels
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.open import open_raster
from magnet.images.rasters.raster import Place, Raster, Resolution

__all__ = ["Channels", "InputSettings", "Place", "Raster", "Resolution", "open_raster"]
