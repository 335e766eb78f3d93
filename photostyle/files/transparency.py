"""What nobody sees under transparent pixels, and what must not decide anything."""

import numpy as np

from photostyle.errors import PhotostyleError
from photostyle.files.profiles import Array


def meant(alpha: Array | None, name: object) -> Array | None:
    """An alpha channel (H, W) of whole numbers; None where it is opaque everywhere, which is none.

    Raises PhotostyleError where it hides everything. name: of the picture, for the message.
    """
    if alpha is None or bool((alpha == np.iinfo(alpha.dtype).max).all()):
        return None
    if not alpha.any():
        raise PhotostyleError(
            f"{name} is transparent everywhere; expected something to see: save it without alpha"
        )
    return alpha


def covered(planes: Array, alpha: Array | None) -> None:
    """Give pixels of (3, H, W) that alpha hides the colour of the nearest visible one, in place.

    Windows and reduced copies mix neighbours: what is hidden would show in what is not.
    """
    hidden = None if alpha is None else alpha == 0
    if hidden is None or not hidden.any():
        return
    from scipy import ndimage  # 0.2 s, for pictures with something hidden

    rows, columns = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    planes[:, hidden] = planes[:, rows[hidden], columns[hidden]]
