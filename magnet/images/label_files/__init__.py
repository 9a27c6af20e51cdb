"""Labels of rasters of any size as files: written block by block, so that memory follows the block, not the raster.

Labels come as :class:`~magnet.images.label_files.blocks.Blocks`. Each writer makes the file at the path that it is
given, which is one that ``atomic_path`` or ``Outputs.write`` moves into place; what it needs meanwhile lies beside it.
"""
