"""Files of users: read within bounds, written whole or not at all, replaced only where that was asked for."""
