"""Which part of a photo is a person's head and skin: found from the faces in it, by each person's own colours.

What is skin by the rules for all people's is wood, sand and leather too. A face says which colours this person's skin
has, and those are looked for near it: ears, neck, hands. Eyes, teeth and hair are not of that colour; they belong to
the face's oval, and to what above it is unlike the surroundings.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy  # which loads scipy.ndimage when it is first used: only where there is a face
import torch
from torch import Tensor

from photostyle.imaging.filters import fit_within, resize, size_of
from photostyle.imaging.lightness import JND, lab
from photostyle.regions.faces import SIDE, Face, Oval, find_faces, skin_coloured

# The face's oval in sides of the square from brows to chin, and the head's, which holds the hair: by eye, so that the
# first ends inside the hair and the second holds all of short hair.
OVAL = Oval(tall=0.58, wide=0.45)
HEAD = Oval(tall=0.85, wide=0.72, up=0.15)
NEAR = Oval(tall=0.72, wide=0.52, up=0.12)  # what of it is hair before all else
AROUND = 1.8  # heads, out to which the surroundings are what hair is told from
# Squared distance from a person's mean skin in its own standard deviations: 99 % of a Gaussian in two dimensions.
LIKE = 9.21
SPREAD = JND  # added to the deviations of a* and b*
DARKEST = 20  # L* below which hue says nothing of skin
PALEST = 0.6  # of the face's mean chroma: below it are walls and paper in warm light
# In sides of the face, from its centre: how far hands may be to the left and right and below (a figure of 7.5 heads),
# and where the chin is.
REACH, BELOW, CHIN = 2.5, 5.5, 0.5
# A patch of the colour that is not joined to the face, as a share of its oval: less is a button, more a wall.
PARTS = (0.04, 1.0)
CELLS = 10  # L*, a* and b* units of a cell in which the colours of hair and surroundings are counted
SMOOTHED = 0.7  # cells: the deviation of the Gaussian over the counts, so that few pixels fill them


def find_skin(photo: Tensor) -> Tensor | None:
    """Where a person's head or skin is: (3, H, W) -> (h, w) of long side SIDE, 0 or 1; None without a face."""
    small = resize(photo, *fit_within(*size_of(photo), SIDE)).cpu()
    faces = find_faces(small)
    return person_parts(small, faces) if faces else None


def person_parts(small: Tensor, faces: Sequence[Face]) -> Tensor:
    """The same of a small picture (3, h, w) whose faces are known -> (h, w)."""
    colours, coloured = lab(small), skin_coloured(small)
    found = torch.zeros(size_of(small))
    for face in (_centred(each, coloured) for each in faces):
        oval = face.within(OVAL, small) < 1
        skin = _skin(colours, coloured, oval, face)
        found = torch.maximum(found, (oval | skin | _hair(colours, skin | oval, face)).float())
    return found


def _centred(face: Face, coloured: Tensor) -> Face:
    """The face moved sideways to the middle of its skin: of one that is half turned away the detector sees a part."""
    height, width = coloured.shape
    beside = coloured & (face.within(replace(OVAL, wide=1.5 * OVAL.wide), coloured) < 1)
    return replace(face, x=float((beside.nonzero()[:, 1] + 0.5).mean()) / max(height, width))


def _skin(colours: Tensor, coloured: Tensor, oval: Tensor, face: Face) -> Tensor:
    """Where a person's own colour of skin is, within reach of the face, in patches that are no specks. (h, w) bool."""
    ours = colours[1:, oval & coloured]
    mean = ours.mean(1, keepdim=True)
    covariance = torch.cov(ours) + SPREAD**2 * torch.eye(2, dtype=ours.dtype)
    apart = colours[1:].flatten(1) - mean
    distance = (apart * torch.linalg.solve(covariance, apart)).sum(0).view(oval.shape)
    down, right = face.offsets(oval)
    near = (down > -1) & (down < BELOW) & (right.abs() < REACH)
    like = (distance < LIKE) & coloured & (colours[0] > DARKEST) & near
    like &= colours[1:].norm(dim=0) > PALEST * mean.norm()
    # What hangs on by a thread of one or two pixels is apart.
    like = torch.from_numpy(scipy.ndimage.binary_opening(like.numpy(), np.ones((3, 3))))
    numbers, count = scipy.ndimage.label((like | oval).numpy())
    patches = torch.from_numpy(numbers).long()
    sizes = torch.bincount(patches.flatten(), minlength=count + 1) / oval.sum()
    joined = torch.isin(patches, patches[oval].unique())
    hands_size = (sizes > PARTS[0]) & (sizes < PARTS[1])
    return like & (joined | hands_size[patches] & (down > CHIN))


def _hair(colours: Tensor, face_parts: Tensor, face: Face) -> Tensor:
    """What of the head is unlike its surroundings: each colour goes where it is more often. (h, w) bool."""
    distance = face.within(HEAD, face_parts)
    inner = distance < 1
    around = (distance >= 1) & (distance < AROUND)
    # The shoulders are not what hair stands before.
    above = face.offsets(face_parts)[0] < CHIN
    head, rest = (face.within(NEAR, face_parts) < 1) & above & ~face_parts, around & above
    if not head.any() or not rest.any():
        return torch.zeros_like(face_parts)
    index = (
        (colours + torch.tensor([0, 110, 110])[:, None, None]) / CELLS
    ).long()  # a* and b* are in -110 .. 100
    ours, theirs = (_frequencies(index[:, part])[tuple(index)] for part in (head, rest))
    numbers, _ = scipy.ndimage.label((face_parts | (inner & above & (ours > theirs))).numpy())
    patches = torch.from_numpy(numbers)
    return inner & above & torch.isin(patches, patches[face.within(OVAL, face_parts) < 1].unique())


def _frequencies(index: Tensor) -> Tensor:
    """How often each cell of colours is met, its neighbours counting a little. index (3, n) -> (11, 22, 22)."""
    counts = np.zeros((11, 22, 22))
    np.add.at(counts, tuple(index.numpy()), 1 / index.shape[1])
    return torch.from_numpy(scipy.ndimage.gaussian_filter(counts, SMOOTHED))
