"""Settings that suit two photographs, found at low resolution: the same as `photostyle search`."""

from photostyle.cli import script

script("search")
