"""Are the pictures of an older commit made again with the same bytes? python scripts/same_bytes.py COMMIT.

For a change that must not move a pixel: the older commit makes a picture and its record with every preset, every kind
of masks, several references, strengths, 16 bits and a search; this tree makes each again from its record. Both run on
this machine with one thread, since bytes differ from processor to processor; so the hashes are kept nowhere.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image
from skimage import data
from skimage.transform import resize

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "import sys; from photostyle.cli import main; sys.exit(main())"
# Channels of the random network: as narrow as tells a change of the Gram and content terms.
WIDTH = 6
# Convolutions of a VGG-19 to conv5_1 by torchvision's position.
POSITIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)

PAIR = "--content photo.png --style style.png"
QUICK = "--size 128 --coarsest 64 --iterations 6 5 --device cpu --threads 1"
GRAM = "--weights vgg.pth"
PAINTED = "--masks photo-mask.png style-mask.png"

RUNS = {
    "patches": f"{PAIR} {QUICK} --preset patches --masks none",
    "instant": f"{PAIR} --preset instant {PAINTED} --threads 1",
    "photoreal": f"{PAIR} {QUICK} {GRAM} --preset photoreal {PAINTED}",
    "search preset": f"{PAIR} {GRAM} --preset search {PAINTED} --threads 1",
    "released": f"{PAIR} {GRAM} --preset released {PAINTED} --size 96 --coarsest 96 --first-pass 6 --iterations 6 "
    "--threads 1",
    "several references": "--content photo.png --style style.png other.png --style-weights 0.7 0.3 "
    f"{QUICK} {GRAM} --preset photoreal --masks photo-mask.png style-mask.png other-mask.png",
    "strengths": f"{PAIR} {QUICK} --preset patches {PAINTED} --region-strength 0000ff=0.4 --strength 0.9 "
    "--preserve-luminance --smooth-radius 2",
    "16 bits": f"--content deep.tif --style style.png {QUICK} --preset patches --masks none",
    "label maps": f"{PAIR} {QUICK} --preset patches --masks photo-labels style-labels",
    "soft masks": f"{PAIR} {QUICK} --preset patches --masks photo-soft style-soft",
    "clustered masks": f"{PAIR} {QUICK} --preset patches --masks cluster",
    "lbfgs": f"{PAIR} {QUICK} --preset patches --optimiser lbfgs --start noise --masks none",
    "averaged": f"{PAIR} {QUICK} {GRAM} --preset photoreal --masks none --averaging 0.9 --variation-weight 1 "
    "--pooling average --start content",
}
SEARCH = f"{PAIR} {PAINTED} --trials 3 --size 96 --iterations 5 --threads 1 --no-download"


def main() -> int:
    """Returns 0 where every picture is the same, else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", help="the older commit")
    parser.add_argument(
        "--keep", type=Path, help="a folder for the older pictures; those it holds are not made again"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).absolute()
        if not (folder / "done").exists():
            with _checked_out(options.commit) as tree:
                make(tree, folder)
        return compare(folder)


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / "tree"
        subprocess.run(
            ["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", tree, commit], check=True
        )
        try:
            yield tree
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", tree], check=True)


def make(tree: Path, folder: Path) -> None:
    """The pictures and records of a source tree."""
    folder.mkdir(exist_ok=True)
    write_inputs(folder)
    for name, arguments in RUNS.items():
        output = "deep-out.tif" if name == "16 bits" else f"{name}.png"
        run(tree, folder, ["run", *arguments.split(), "--output", output, "--quiet"])
        print(f"made {name}", flush=True)
    run(tree, folder, ["search", *SEARCH.split(), "--output", "search"])
    (folder / "done").touch()


def compare(folder: Path) -> int:
    """Every picture once more with this tree: from its record, the search from its command."""
    shutil.rmtree(folder / "search-again", ignore_errors=True)
    different = []
    for name in RUNS:
        record = "deep-out.json" if name == "16 bits" else f"{name}.json"
        ended = run(ROOT, folder, ["rerun", record, "--quiet"], check=False)
        print(f"{'same' if ended == 0 else 'DIFFERENT'}  {name}", flush=True)
        different += [name] * (ended != 0)
    run(ROOT, folder, ["search", *SEARCH.split(), "--output", "search-again"])
    before, after = (_hashes(folder / name / "trials") for name in ("search", "search-again"))
    print(f"{'same' if before == after else 'DIFFERENT'}  search")
    return 1 if different or before != after or not before else 0


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.png"))}


def run(tree: Path, folder: Path, arguments: Sequence[str], check: bool = True) -> int:
    """A command of a source tree in a folder; returns its exit code."""
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TORCH_HOME": str(folder / "hub"),
    }
    command = [sys.executable, "-c", COMMAND, *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=check)
    return ended.returncode


def write_inputs(folder: Path) -> None:
    """Small photographs that come with scikit-image, masks of every kind for them, a narrow random VGG-19."""
    photos = {
        "photo": (data.coffee(), 120, 180),
        "style": (data.rocket(), 110, 160),
        "other": (data.chelsea(), 100, 150),
    }
    for name, (image, height, width) in photos.items():
        small = resize(image, (height, width), anti_aliasing=True)
        Image.fromarray(np.rint(small * 255).astype(np.uint8)).save(folder / f"{name}.png")
        left = np.zeros((height, width), np.uint8)
        left[:, : width * 2 // 5] = 255
        painted = np.dstack((255 - left, 0 * left, left))
        Image.fromarray(painted).save(folder / f"{name}-mask.png")
        for kind in ("labels", "soft"):
            (folder / f"{name}-{kind}").mkdir(exist_ok=True)
        Image.fromarray(left // 255 + 3).save(folder / f"{name}-labels" / "labels.png")
        _legend(folder / f"{name}-labels", 'kind = "labels"\nfile = "labels.png"', "value = 4", "value = 3")
        ramp = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
        Image.fromarray(ramp).save(folder / f"{name}-soft" / "one.png")
        Image.fromarray(255 - ramp).save(folder / f"{name}-soft" / "two.png")
        _legend(folder / f"{name}-soft", 'kind = "soft"', 'file = "one.png"', 'file = "two.png"')
    deep = np.rint(resize(data.coffee(), (100, 150), anti_aliasing=True) * 65535).astype(np.uint16)
    tifffile.imwrite(folder / "deep.tif", deep, photometric="rgb")
    torch.save(_random_vgg19(), folder / "vgg.pth")


def _legend(folder: Path, head: str, first: str, second: str) -> None:
    regions = f'one = {{ {first}, colour = "#0000ff" }}\ntwo = {{ {second}, colour = "#ff0000" }}'
    (folder / "legend.toml").write_text(f"{head}\n[regions]\n{regions}\n", encoding="utf-8")


def _random_vgg19() -> dict[str, torch.Tensor]:
    generator, state, channels = torch.Generator().manual_seed(0), {}, 3
    for position in POSITIONS:
        scale = (2 / (9 * channels)) ** 0.5  # He et al. 2015: signals keep their size down the layers
        state[f"features.{position}.weight"] = scale * torch.randn(WIDTH, channels, 3, 3, generator=generator)
        state[f"features.{position}.bias"] = torch.zeros(WIDTH)
        channels = WIDTH
    return state


if __name__ == "__main__":
    sys.exit(main())
