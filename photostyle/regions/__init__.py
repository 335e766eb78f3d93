"""Which part of the photo takes its style from which part of the references, and where a run starts."""
