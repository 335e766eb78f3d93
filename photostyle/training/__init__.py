"""What any training here needs and no task owns: checkpoints, pictures of a folder, progress, curves, records."""
