"""The first picture: colours alone, in a second, while the run that will replace it has yet to begin."""

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from typing import Any

from photostyle.cli.outputs import company, record_path
from photostyle.cli.signals import held
from photostyle.config import Config
from photostyle.errors import ComputationError, PhotostyleError, is_out_of_memory
from photostyle.evaluation.records import make_record, write_picture
from photostyle.files.images import Picture, encode_image
from photostyle.pipeline import transfer
from photostyle.presets import configure
from photostyle.regions.parts import NONE, SKIN

# One colour map for the whole picture that hardly stretches, as far as its colours bear: what a photo gets whose
# reference nothing relates it to.
FIRST: dict[str, Any] = {"masks": "none", "boldness": 0.0}


def first_config(config: Config) -> Config:
    """The settings of the first picture of a run: a run by themselves, which the record beside it names."""
    return configure(
        "instant",
        content=config.content,
        style=config.style,
        style_weights=config.style_weights,
        # Names of regions mean nothing where there is but one.
        protect=tuple(word for word in config.protect if word in (SKIN, NONE)) or (NONE,),
        strength=config.strength,
        preserve_luminance=config.preserve_luminance,
        output=config.output,
        device=config.device,
        deterministic=config.deterministic,
        **FIRST,
    )


class FirstPicture:
    """The first picture of a run. wanted: whether there is something to wait for, and somebody who waits.

    It is written to the run's output with a record of its own. So picture and record belong together whatever happens
    to the run: what is left of one that was interrupted early is a finished run with the first picture's settings.
    """

    def __init__(self, config: Config, photo: Picture, references: Sequence[Picture]) -> None:
        self.config, self.photo, self.references = first_config(config), photo, tuple(references)
        self.wanted = config.first_picture and not config.quiet and any(config.evaluations)
        self.written = False

    def shown(self) -> str:
        """Write it, once, and return what there is to say; the run goes on without it where it cannot be made."""
        self.wanted = False
        try:
            self._write()
        except (PhotostyleError, ComputationError) as error:  # a very large photo, a full disk
            return f"note: no first picture: {error}"
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return "note: no first picture: out of memory"
        return f"first picture: {self.config.output}; it is being refined"

    def _write(self) -> None:
        """Picture and record; each replaces an older one whole."""
        began, output = time.perf_counter(), self.config.output
        asked = dataclasses.replace(self.config, content=self.photo, style=self.references)
        result = transfer(asked)
        picture = encode_image(
            output,
            result.image,
            alpha=self.photo.alpha,
            depth=self.photo.depth,
            resolution=self.photo.resolution,
        )
        seconds, digest = time.perf_counter() - began, hashlib.sha256(picture).hexdigest()
        record = make_record(self.config, result, digest, seconds, {}, {})
        record["beside"] = company(output)
        with held():
            write_picture(output, picture, record_path(output), record)
            self.written = True
