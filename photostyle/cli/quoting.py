"""Commands as they are printed: what a shell makes of them is what was meant, whatever the files are called."""

import os
import shlex
from pathlib import Path


def command_line(*words: str | Path) -> str:
    """Words as a line for a POSIX shell. A Path is kept from being taken for an option or for a command."""
    return " ".join(_quoted(_told_apart(word) if isinstance(word, Path) else word) for word in words)


def _told_apart(path: Path) -> str:
    """Path drops the ./ by which a person told it apart; a name with an ending is no command."""
    name = str(path)
    bare = path.name == name and not path.suffix and name not in (".", "..")
    return f"./{name}" if name.startswith("-") or bare else name


def _quoted(word: str) -> str:
    """As shlex; what a terminal cannot show (escapes, line ends, bytes of no text) in $'…', as bash and zsh read it."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(_escaped(each) for each in word) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(character))
