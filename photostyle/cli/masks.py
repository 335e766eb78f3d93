"""photostyle segment and masks: regions from photographs, and what the program makes of masks."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor

from photostyle.cli.arguments import parse
from photostyle.cli.console import DONE, make_folder, note, refuse_inputs, tell
from photostyle.cli.outputs import PREVIEW, refuse_foreign_preview
from photostyle.cli.quoting import command_line
from photostyle.errors import PhotostyleError
from photostyle.evaluation import reports as report
from photostyle.files.images import check_output, read_image
from photostyle.files.masks import read_masks
from photostyle.files.places import check_name
from photostyle.files.reading import path_exists
from photostyle.imaging.filters import size_of
from photostyle.process import device_named, prepared
from photostyle.regions.guidance import pair_regions


@dataclasses.dataclass(frozen=True)
class SegmentCommand:
    """Make masks of photographs; of those given together (content first, then references) labels correspond."""

    photos: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """the photographs"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("masks")
    """the folder to write: a folder of masks for each photo, and preview.png"""
    each: bool = False
    """treat the photos one by one: no label is given up because another photo lacks it"""
    method: Literal["auto", "cluster"] = "auto"
    """auto: a pretrained segmenter, or clustering where none can be had or it is not sure; cluster: that alone"""
    segmenter: str = "auto"
    """light, strong, segformer (non-commercial), deeplab, an smp-hub/... model, a folder or file of
    weights, an .onnx file; auto: light"""
    segmenter_revision: str | None = None
    """commit of a hub model, or SHA-256 of other weights; default: as cached, else the newest"""
    refine_masks: bool = True
    """let borders follow hair, leaves and roofs (matting)"""
    merge: tuple[str, ...] = ()
    """labels to unite, as one name list each: --merge sky,water wall,floor"""
    only: tuple[str, ...] = ()
    """labels to keep; all others become one region, "rest": --only sky"""
    kind: Literal["soft", "colours"] = "soft"
    """soft: one grey picture per region; colours: one picture of flat colours, the easier to repaint"""
    depth: Literal[8, 16] = 8
    """bits of the grey pictures"""
    download: bool = True
    """fetch weights that are neither given nor cached"""
    seed: int = 612
    """seed of the clustering"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute"""
    threads: int = 0
    """CPU threads; 0: torch's own choice"""


def segment(arguments: Sequence[str]) -> int:
    """photostyle segment: masks, a preview, a table, and the command that uses them."""
    from segmentation.files import check_folder, write_masks
    from segmentation.make import MaskOptions, make_masks

    options = parse(SegmentCommand, arguments, "photostyle segment")
    if not options.photos:
        raise PhotostyleError(
            "no photograph was given; give one or more: photostyle segment photo.jpg sunset.jpg"
        )
    folders = _folders(options.photos, options.output)
    preview = options.output / PREVIEW
    for path in (*folders, preview):
        check_name(path)
    refuse_inputs([preview], options.photos)
    ours = [check_folder(folder) for folder in folders] if path_exists(options.output) else []
    refuse_foreign_preview(preview, any(ours))
    pictures = [read_image(photo) for photo in options.photos]
    for text in dict.fromkeys(text for picture in pictures for text in picture.notes):
        note(text)
    how = MaskOptions(
        method=options.method,
        segmenter=options.segmenter,
        revision=options.segmenter_revision,
        refine=options.refine_masks,
        merge=options.merge,
        only=options.only,
        download=options.download,
        seed=options.seed,
        device=device_named(options.device),
    )
    batches = [[picture] for picture in pictures] if options.each else [pictures]
    with prepared(options.threads):
        sets = [regions for batch in batches for regions in make_masks(batch, how, note).sets]
    make_folder(options.output)
    for folder, regions in zip(folders, sets, strict=True):
        write_masks(folder, regions, options.kind, options.depth)
    names = [photo.name for photo in options.photos]
    report.mask_sheet([picture.pixels for picture in pictures], sets, names, preview)
    tell(report.share_table(sets, names))
    tell(*folders, preview)
    if len(folders) > 1:
        tell(f"\n{command_line('photostyle', *options.photos, '--masks', *folders)}")
    return DONE


def _folders(photos: Sequence[Path], output: Path) -> list[Path]:
    """A folder for each photo, by its name; of two of one name the second gets a number."""
    folders: list[Path] = []
    for photo in photos:
        names = (photo.stem, *(f"{photo.stem}-{number}" for number in range(2, len(photos) + 1)))
        folders.append(next(output / name for name in names if output / name not in folders))
    return folders


@dataclasses.dataclass(frozen=True)
class MasksCommand:
    """Show how the regions of two masks pair: a table, and an overlay of each mask on its photo."""

    files: Annotated[tuple[Path, Path], tyro.conf.Positional]
    """the content's mask and the style's"""
    content: Path | None = None
    """the photo (without it the overlay shows the mask alone, and orphans cannot be judged by colour)"""
    style: Path | None = None
    """the reference photo"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("masks.png")
    """the overlay picture to write"""


def show_masks(arguments: Sequence[str]) -> int:
    """photostyle masks: the region table and the overlay picture."""
    options = parse(MasksCommand, arguments, "photostyle masks")
    check_output(options.output, alpha=False, depth=8)
    refuse_inputs([options.output], [*options.files, options.content, options.style])
    pictures, sets = [], []
    for mask, photo in zip(options.files, (options.content, options.style), strict=True):
        picture = None if photo is None else _read(photo)
        # Once: a mask may come from a pipe.
        sets.append(read_masks(mask, photo or mask, *(() if picture is None else size_of(picture))))
        pictures.append(torch.full((3, *size_of(sets[-1].masks)), 0.5) if picture is None else picture)
    guidance = pair_regions(pictures[0], sets[0], pictures[1], sets[1])
    for text in (*sets[0].notes, *sets[1].notes, *guidance.notes):
        note(text)
    tell(report.region_table(guidance))
    views = [
        (str(mask), report.overlay(picture, regions.masks, regions.colours))
        for mask, picture, regions in zip(options.files, pictures, sets, strict=True)
    ]
    report.contact_sheet([views], options.output)
    tell(options.output)
    return DONE


def _read(photo: Path) -> Tensor:
    picture = read_image(photo)
    for text in picture.notes:
        note(text)
    return picture.pixels
