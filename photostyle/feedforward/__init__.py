"""Many styles in one pass: a generator that a style encoder tells what to paint like, trained once, then fast."""
