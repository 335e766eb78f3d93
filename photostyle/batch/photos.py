"""Which photographs are meant: files, folders and patterns, each photograph once."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from photostyle.errors import PhotostyleError
from photostyle.files.images import SUFFIXES
from photostyle.files.reading import path_exists, path_is_dir, path_is_file, real_path


def find_photos(
    words: Sequence[str], apart: Path, references: Iterable[Path]
) -> tuple[list[Path], tuple[str, ...]]:
    """The photographs in the order of the words, sorted within a word; and notes of what was left out.

    A word is a file, a folder (the pictures in it, not those in its folders) or a pattern (`*`, `?`, `[...]`, and `**`
    for folders at any depth). A file that has the name is meant before a pattern. What a folder or a pattern finds is a
    photograph where its suffix is a picture's, and is left out below `apart`, where results go, and where it is one of
    the references; a file that is named is taken as it is. Raises PhotostyleError for a word that means nothing.
    """
    whole, ours = {*map(real_path, references)}, real_path(apart)
    photos, notes = dict[Path, Path](), list[str]()
    for word in words:
        named = path_exists(Path(word)) and not path_is_dir(Path(word))
        found = [Path(word)] if named else sorted(_found(word))
        kept = [each for each in found if named or not _left_out(real_path(each), ours, whole)]
        if not kept:
            raise PhotostyleError(
                f"{word} names no photograph: give files, folders or patterns of PNG, JPEG, TIFF or WebP"
            )
        if len(kept) < len(found):
            notes.append(f"{word}: {len(found) - len(kept)} left out, which are references or results")
        twice = [each for each in kept if real_path(each) in photos]
        if twice:
            notes.append(f"{word}: {len(twice)} named before, {twice[0]} the first")
        photos |= {real_path(each): each for each in kept if real_path(each) not in photos}
    return list(photos.values()), tuple(notes)


def _left_out(path: Path, apart: Path, references: set[Path]) -> bool:
    return path in references or apart in path.parents


def _found(word: str) -> Iterator[Path]:
    folder = Path(word)
    if path_is_dir(folder):
        try:
            names = [each for each in folder.iterdir() if not each.name.startswith(".")]
        except OSError as error:
            raise PhotostyleError(
                f"{folder} cannot be read ({error.strerror}): check its permissions"
            ) from None
    elif glob.has_magic(word):
        # Path.glob takes no absolute pattern.
        names = [Path(each) for each in glob.iglob(word, recursive=True)]  # noqa: PTH207
    else:
        raise PhotostyleError(f"{word} does not exist: check the name")
    yield from (each for each in names if each.suffix.lower() in SUFFIXES and path_is_file(each))
