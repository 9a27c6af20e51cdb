"""Reports that people look at: pages of HTML, each one file that needs nothing else."""
