"""--fit: a run again at smaller sizes, where memory does not suffice for the one that was asked for."""

import dataclasses
from collections.abc import Callable

from photostyle.config import Config
from photostyle.errors import NotEnoughMemory, PhotostyleError, is_out_of_memory, says_no_memory
from photostyle.memory import smaller_sizes
from photostyle.result import Result
from photostyle.resuming import Checkpoints


def fitted(
    config: Config,
    longest: int,
    checkpoints: Checkpoints | None,
    attempt: Callable[[Config], Result],
    keep: Callable[[int, Result], None],
    say: Callable[[str], None],
) -> tuple[int, Result]:
    """The first --size that memory suffices for, and what attempt gives there.

    Without --fit that is the size asked for, whatever comes of it. Next comes what is said to fit, else three quarters,
    and nothing below the first stage's size. longest: the photo's long side. keep: writes what was made at a size where
    memory ended in the solve, because the next may come to less. Raises what the last attempt does.
    """
    config = _begun_smaller(config, checkpoints)
    while True:
        try:
            result = attempt(config)
        except (PhotostyleError, MemoryError, RuntimeError) as error:
            size = _next_size(config, longest, error)
            if size is None:
                raise
        else:
            size = _smaller(config, longest) if says_no_memory(result.ended) else None
            if size is None:
                return config.size, result
            try:
                keep(config.size, result)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                say(f"what was made at --size {config.size} is not kept: out of memory")
            del result  # of a large photo it is what memory lacks
        say(f"memory does not suffice at --size {min(config.size, longest)}: again at --size {size}")
        config = dataclasses.replace(config, size=size)
        if checkpoints is not None:
            checkpoints.found = None  # of the size that was tried


def _begun_smaller(config: Config, checkpoints: Checkpoints | None) -> Config:
    """With the smaller size at which an unfinished run has found memory enough, so that it is resumed there."""
    found = None if checkpoints is None else checkpoints.found
    settings = None if found is None else found.state.get("settings")
    size = settings.get("size") if isinstance(settings, dict) else None
    if config.fit and isinstance(size, int) and config.coarsest <= size < config.size:
        return dataclasses.replace(config, size=size)
    return config


def _next_size(config: Config, longest: int, error: Exception) -> int | None:
    if isinstance(error, NotEnoughMemory):
        fits = error.size if config.fit else None
        return fits if fits is not None and fits >= config.coarsest else None
    if isinstance(error, PhotostyleError) or not is_out_of_memory(error):
        return None
    return _smaller(config, longest)


def _smaller(config: Config, longest: int) -> int | None:
    """The next size down; None without --fit, below the first stage, and where the size is none that is solved at."""
    if not config.fit or config.squeeze:
        return None
    size = next(iter(smaller_sizes(min(config.size, longest))), 0)
    return size if size >= config.coarsest else None
