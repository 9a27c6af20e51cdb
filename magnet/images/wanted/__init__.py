"""Which pixels of a raster are to be segmented: masks, polygons, tissue. All of it is asked for by window."""
