"""What results are called: after their photographs, no two alike, and the same at every start."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

# Of a batch as a whole, which no picture may be called: its own files are these with suffixes, see page and summary.
RESERVED = ("batch", "index", "contact-sheet", "thumbnails")
# What a run may write beside a picture has its name with one of these behind it.
COMPANY = ("-solved", "-regions", "-losses", "-masks", "-checkpoint")


def distinct_stems(photos: Sequence[Path], stems: Sequence[str]) -> list[str]:
    """A file name without suffix for the result of each photograph, different also where case does not count.

    stems: what each would be called. Where several would be called alike each takes as much of its path as tells them
    apart, "a-x" and "b-x" or "x-jpg" and "x-png", so that no order of the photographs changes a name; a number is the
    last resort. Records and what a run writes beside a picture have its stem too, so suffixes tell nothing apart.
    """
    ladders = [list(_longer(photo, stem)) for photo, stem in zip(photos, stems, strict=True)]
    rungs = max(map(len, ladders), default=0)
    counts = [
        Counter(ladder[rung].casefold() for ladder in ladders if rung < len(ladder)) for rung in range(rungs)
    ]
    taken = set[str]()
    return [_free(_best(ladder, counts), taken) for ladder in ladders]


def _longer(photo: Path, stem: str) -> Iterator[str]:
    """The stem, with its suffix, then with more and more folders before it."""
    suffix = photo.suffix.removeprefix(".")
    before = ""
    for folder in ("", *(each.name for each in photo.absolute().parents if each.name)):
        before = f"{folder}-{before}" if folder else before
        yield f"{before}{stem}"
        yield f"{before}{stem}-{suffix}"


def _best(ladder: list[str], counts: list[Counter[str]]) -> str:
    """The shortest name that is its own."""
    own = (name for name, alike in zip(ladder, counts, strict=False) if alike[name.casefold()] == 1)
    return next(own, ladder[0])


def _free(stem: str, taken: set[str]) -> str:
    """The name, with a number where it or what is written beside it is another's. It is taken from then on."""
    for number in count(1):
        name = stem if number == 1 else f"{stem}-{number}"
        low = name.casefold()
        if low not in taken and low not in RESERVED and not _is_company(low, taken):
            taken.add(low)
            return name
    raise AssertionError("numbers do not end")


def _is_company(name: str, taken: set[str]) -> bool:
    """Whether one of two would be called like something beside the other."""
    beside = any(name.endswith(each) and name.removesuffix(each) in taken for each in COMPANY)
    return beside or any(f"{name}{each}" in taken for each in COMPANY)
