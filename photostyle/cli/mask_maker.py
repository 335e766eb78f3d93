"""The masks that a run makes for itself."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from photostyle.cli.console import make_folder, spared
from photostyle.cli.outputs import PREVIEW, masks_folder, refuse_foreign_preview
from photostyle.config import Config
from photostyle.files.images import Picture
from photostyle.process import device_named


class MaskMaker:
    """Makes masks and writes them beside the output, where a person can look at them and edit them.

    The transfer reads them as if they had been given, so a rerun needs no segmenter. origin: what made them; names:
    of their folders. written: takes what was written.
    """

    def __init__(self, config: Config, say: Callable[[str], None], written: list[Path]) -> None:
        self.config, self.say, self.written = config, say, written
        self.folder = masks_folder(config.output)
        self.origin: dict[str, Any] = {}
        self.names: tuple[str, ...] = ()
        if self.folder.exists():  # asked before any work, and again by write_masks
            self._check()

    def __call__(self, photo: Picture, references: Sequence[Picture]) -> tuple[str, ...]:
        if self.names:
            return self.names  # made at an earlier attempt
        from photostyle.evaluation.reports import mask_sheet
        from segmentation.files import write_masks
        from segmentation.make import make_masks

        pictures, folders = (photo, *references), self._folders()
        made = make_masks(pictures, self._making(), self.say)
        make_folder(self.folder)
        self.written.append(self.folder)
        for folder, regions in zip(folders, made.sets, strict=True):
            write_masks(folder, regions, "soft")
        preview, captions = self.folder / PREVIEW, [folder.name for folder in folders]
        self.say(f"masks: {', '.join(made.sets[0].names)}; look at {preview}")
        draw = partial(mask_sheet, [each.pixels for each in pictures], made.sets, captions, preview)
        spared(str(preview), draw, self.say)
        self.origin = made.origin | {"asked": self.config.masks[0]}
        self.names = tuple(str(folder.absolute()) for folder in folders)
        return self.names

    def _making(self) -> Any:
        from segmentation.make import MaskOptions

        config = self.config
        return MaskOptions(
            method="cluster" if config.masks == ("cluster",) else "auto",
            segmenter=config.segmenter,
            revision=config.segmenter_revision,
            refine=config.refine_masks,
            download=config.download,
            seed=config.seed,
            doubtful="unite" if config.masks == ("auto",) else "keep",
            device=device_named(config.device),
        )

    def _check(self) -> None:
        from segmentation.files import check_folder

        ours = [check_folder(folder) for folder in self._folders()]
        refuse_foreign_preview(self.folder / PREVIEW, any(ours))

    def _folders(self) -> list[Path]:
        others = range(2, len(self.config.style) + 1)
        return [self.folder / name for name in ("content", "style", *(f"style-{each}" for each in others))]
