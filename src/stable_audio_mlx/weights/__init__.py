"""Everything about weight files: checkpoints in, our NPZ folders, names and downloads, text encoders."""
