"""Masks from photographs on the command line: the same as `photostyle segment`."""

from photostyle.cli import script

script("segment")
