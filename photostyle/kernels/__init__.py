"""The inner loops of the method, compiled for the processor where numba is to be had; see `compiler`."""
