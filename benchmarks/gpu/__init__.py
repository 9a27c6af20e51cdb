"""The benchmark of a GPU: kernel and call times against the floor that memory sets. Run by ../gpu_check.sh."""
