"""Files of weights, read without running code and fitted to networks key by key."""

from magnet.checkpoints.fit import load_official
from magnet.checkpoints.state_dicts import read_state_dict

__all__ = ["load_official", "read_state_dict"]
