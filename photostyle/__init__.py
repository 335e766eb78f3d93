"""Photorealistic style transfer after Luan et al. (2017). Start reading in ``transfer.py``."""

from photostyle.config import Config
from photostyle.errors import ComputationError, PhotostyleError
from photostyle.pipeline import Result, transfer
from photostyle.presets import configure
from photostyle.version import __version__

__all__ = ["ComputationError", "Config", "PhotostyleError", "Result", "__version__", "configure", "transfer"]
