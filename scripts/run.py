"""Photorealistic style transfer from the command line: the same as `photostyle run`."""

from photostyle.cli import script

script("run")
