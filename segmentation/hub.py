"""The files of a model on the Hugging Face hub: from its cache, else by download, with a quick answer when offline.

Users set where the cache and the hub are, as huggingface_hub reads it when it is imported: HF_HOME, HF_HUB_CACHE,
HF_ENDPOINT, HF_HUB_OFFLINE, and the proxies.
"""

import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from photostyle.errors import PhotostyleError
from photostyle.losses.weights import PROBE_SECONDS

CONFIG, MODEL = "config.json", "model.safetensors"


class SegmenterNotFound(PhotostyleError):
    """The segmenter could not be loaded: it is not here, and the message says why no download brought it."""


def cached(repository: str, revision: str = "") -> Path | None:
    """The snapshot of a revision (a commit, branch or tag; "main" by default), where both its files are cached."""
    from huggingface_hub import constants, try_to_load_from_cache

    files = [
        try_to_load_from_cache(repository, file, constants.HF_HUB_CACHE, revision or "main")
        for file in (CONFIG, MODEL)
    ]
    folders = {Path(file).parent for file in files if isinstance(file, str)}
    return folders.pop() if all(isinstance(file, str) for file in files) else None


def downloaded(repository: str, revision: str, download: bool, say: Callable[[str], None]) -> Path:
    """The snapshot of a revision, downloaded now: only its configuration and its tensors.

    Raises SegmenterNotFound, within PROBE_SECONDS where the hub does not answer (its own retries take 23 s).
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    what = f"{repository} at revision {revision}" if revision else repository
    if reason := _hindrance(download):
        raise SegmenterNotFound(
            f"{what} could not be loaded: {constants.HF_HUB_CACHE} holds no complete copy of it and {reason}; "
            f"go online once, or give a folder with its {CONFIG} and {MODEL}"
        )
    say(f"downloading {what} from {constants.ENDPOINT} to {constants.HF_HUB_CACHE}")
    try:
        with _silence():
            folder = snapshot_download(
                repository,
                revision=revision or None,
                cache_dir=constants.HF_HUB_CACHE,
                endpoint=constants.ENDPOINT,
                allow_patterns=[CONFIG, MODEL],
            )
    except Exception as error:  # the hub's own errors, those of its HTTP library, and the disk's
        # Of a lost connection this error says only that the cache could not help; its cause says the rest.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
        raise SegmenterNotFound(
            f"the download of {what} failed ({one_line(cause or error)}): check its name, or try again"
        ) from error
    missing = [file for file in (CONFIG, MODEL) if not (Path(folder) / file).is_file()]
    if missing:
        raise SegmenterNotFound(f"{what} has no {' and no '.join(missing)} on the hub: give another model")
    return Path(folder)


def one_line(error: BaseException) -> str:
    """The message of an error as part of a line, 160 characters at most; its type where it says nothing."""
    return textwrap.shorten(str(error), 160, placeholder="…") or type(error).__name__


def _hindrance(download: bool) -> str:
    """Why a download is not even begun; "" where nothing prevents it."""
    from huggingface_hub import constants

    if not download:
        return "no download was asked for"
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    problem = _no_answer(constants.ENDPOINT)
    return f"{constants.ENDPOINT} cannot be reached ({problem})" if problem else ""


def _no_answer(url: str) -> str:
    """Why the server gives no answer of any kind within PROBE_SECONDS; "" where it gives one.

    It is asked with the hub's own client, so that the same proxies and certificates count, and in a thread of its own,
    because no time-out bounds the look-up of a host name.
    """
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    problems: list[str] = []

    def probe() -> None:
        try:
            get_session().head(url, timeout=PROBE_SECONDS)
            problems.append("")
        except Exception as error:  # which ones there are depends on the hub's HTTP library
            problems.append(one_line(error))

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return problems[0] if problems else f"no answer in {PROBE_SECONDS:.0f} s"


@contextmanager
def _silence() -> Iterator[None]:
    """Silence the hub's progress bars and log lines: the terminal belongs to the caller."""
    from huggingface_hub import constants, utils

    # Where the user has set the variable, either way, it decides, and the hub warns of any other wish.
    bars = constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not utils.are_progress_bars_disabled()  # type: ignore[attr-defined]
    level = utils.logging.get_verbosity()
    utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if bars:
        utils.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        utils.logging.set_verbosity(level)
        if bars:
            utils.enable_progress_bars()  # type: ignore[attr-defined]
