"""A shell makes of a printed command what was meant, whatever the files are called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from photostyle.cli.quoting import command_line

# Of files that people have: spaces, quotes, variables, wildcards, line ends, escapes, bytes that are no UTF-8.
NAMES = [
    "my photo.png",
    'it\'s "that".png',
    "$HOME `x` !1.png",
    "*.png",
    "a\nb.png",
    "\x1b[31m7.png",
    "\x007"[1:] + ".png",
    "caf\udce9.png",
    "é\t\\n.png",
    "~",
    "#1.png",
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.situation("a command to copy")
def test_a_shell_reads_what_was_written() -> None:
    line = command_line("printf", r"%s\0", *NAMES)
    assert line.isprintable()
    read = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert read.split(b"\0")[:-1] == [os.fsencode(name) for name in NAMES]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("./-a.png", "./-a.png"),
        ("--help", "./--help"),
        ("run", "./run"),
        ("a.png", "a.png"),
        ("masks/-a", "masks/-a"),
        ("..", ".."),
    ],
)
def test_a_file_is_no_option_and_no_command(path: str, word: str) -> None:
    assert command_line("photostyle", Path(path), "-o") == f"photostyle {word} -o"
