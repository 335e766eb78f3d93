"""The command line: it alone prints, chooses file names and ends a process."""

from photostyle.cli.program import main as main
from photostyle.cli.program import script as script
