"""The method: from a coarse map to a fine one, scale by scale. It knows no files and no commands."""
