"""Labels as other tools write them, made into the folder layout that ``magnet train`` reads."""
