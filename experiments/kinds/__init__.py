"""The kinds of experiments: what an experiment of each runs, sums up and shows."""
