"""What every test shares: one thread, no network, and where the published pairs lie."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with dpst/ (published pairs) and encoders/, named by PHOTOSTYLE_DATA; not part of the project."""
    folder = Path(os.environ.get("PHOTOSTYLE_DATA", ROOT.parent / "shared"))
    if not (folder / "dpst").is_dir():
        pytest.skip(f"no published pairs at {folder}; set PHOTOSTYLE_DATA")
    return folder


@pytest.fixture(scope="session")
def coffee() -> Tensor:
    """A photograph, (3, 400, 600): CC0, shipped with scikit-image."""
    return _tensor(data.coffee())


@pytest.fixture(scope="session")
def chelsea() -> Tensor:
    """Another photograph, (3, 300, 451): CC0, shipped with scikit-image."""
    return _tensor(data.chelsea())


def _tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float().div(255).contiguous()
