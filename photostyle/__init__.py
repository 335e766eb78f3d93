"""Photorealistic style transfer after Luan et al. (2017). Start reading in ``pipeline.py``.

The names below are imported when they are first asked for: the command line has something to say to the process before
torch is imported, and a help text need not wait for it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
