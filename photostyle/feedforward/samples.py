"""What a model makes while it is trained, as a sheet that a person can look at."""

import torch
from torch import Tensor

from photostyle.feedforward.data import Pictures, StyleGallery, as_pictures, middle
from photostyle.feedforward.model import StyleModel

CONTENTS, STYLES = 3, 6  # of a sheet: what is seen at one glance

Cell = tuple[str, Tensor]


def middles(pictures: Pictures, size: int, count: int) -> Tensor:
    """The middle squares of the first pictures: (count, size, size, 3) uint8."""
    some = range(min(count, len(pictures)))
    return torch.stack([middle(pictures[number], size) for number in some])


def first_styles(gallery: StyleGallery, count: int) -> Tensor:
    """The first crops of the gallery's largest size: (count, size, size, 3) uint8."""
    return gallery.crops[max(gallery.crops)][:count]


@torch.no_grad()
def sample_rows(
    model: StyleModel, contents: Tensor, styles: Tensor, device: torch.device
) -> list[list[Cell]]:
    """Rows for `evaluation.reports.contact_sheet`: the styles, then each content in each of them."""
    training = model.training
    model.eval()
    photos, pictures = as_pictures(contents, device), as_pictures(styles, device)
    blank = torch.ones_like(photos[0]).cpu()
    rows = [[("", blank), *(("", each.cpu()) for each in pictures)]]
    for photo in photos:
        made = [stylised(model, photo, each) for each in pictures]
        rows.append([("", photo.cpu()), *(("", each.cpu()) for each in made)])
    model.train(training)
    return rows


def stylised(model: StyleModel, photo: Tensor, style: Tensor) -> Tensor:
    """A photo (3, H, W) in a style (3, h, w), both in [0, 1]."""
    made: Tensor = model(photo[None], model.style(style[None]))[0]
    return made.float().clamp(0, 1)
