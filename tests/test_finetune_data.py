"""What a fine-tuning learns from: class folders, CIFAR-10 as it is published, digits; and what is refused."""

import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from photostyle.errors import PhotostyleError
from photostyle.recognition.finetune.cifar import ARCHIVE, FOLDER, NAMES, TEST, TRAIN, cifar_in, read_cifar
from photostyle.recognition.finetune.data import LEAST, Data, balance, read_data, split_by_class
from photostyle.recognition.finetune.settings import FinetuneSettings

CLASSES = [b"airplane", b"cat"]


def string(text: bytes) -> bytes:
    """A str of Python 2 in a pickle of protocol 2, which is how the published batches hold all their text and bytes."""
    return (b"U" + bytes([len(text)]) if len(text) < 256 else b"T" + struct.pack("<i", len(text))) + text


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def array(values: np.ndarray) -> bytes:
    """As NumPy 1 under Python 2 wrote it: numpy.core.multiarray._reconstruct, then its state."""
    made = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + number(0)
        + b"\x85"
        + string(b"b")
        + b"\x87R"
    )
    kind = b"cnumpy\ndtype\n" + string(b"u1") + number(0) + number(1) + b"\x87R("
    kind += number(3) + string(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    shape = number(values.shape[0]) + number(values.shape[1]) + b"\x86"
    return made + b"(" + number(1) + shape + kind + b"\x89" + string(values.tobytes()) + b"tb"


def dictionary(entries: dict[bytes, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(string(key) + value for key, value in entries.items()) + b"u."


def listed(values: list[bytes]) -> bytes:
    return b"](" + b"".join(values) + b"e"


def write_batch(path: Path, rows: np.ndarray, labels: list[int]) -> None:
    entries = {b"data": array(rows), b"labels": listed([number(each) for each in labels])}
    path.write_bytes(dictionary(entries | {b"batch_label": string(b"a batch"), b"filenames": listed([])}))


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    """A folder that holds CIFAR-10's, with 8 pictures a batch: a picture's values say its number and the channel."""
    folder = tmp_path / "data" / FOLDER
    folder.mkdir(parents=True)
    for count, name in enumerate((*TRAIN, TEST)):
        rows = np.zeros((8, 3, 1024), np.uint8)
        rows += (8 * count + np.arange(8, dtype=np.uint8))[:, None, None] + np.array([0, 50, 100], np.uint8)[
            :, None
        ]
        write_batch(folder / name, rows.reshape(8, -1), [0, 1] * 4)
    meta = {b"num_cases_per_batch": number(8), b"label_names": listed([string(name) for name in CLASSES])}
    (folder / NAMES).write_bytes(dictionary(meta))
    return folder.parent


@pytest.mark.parametrize("kind", ["folder", "its parent", "archive", "archive's folder"])
def test_cifar_is_read_as_it_is_published(tmp_path: Path, batches: Path, kind: str) -> None:
    path = batches / FOLDER if kind == "folder" else batches
    if kind.startswith("archive"):
        path = tmp_path / "down" / ARCHIVE
        path.parent.mkdir()
        with tarfile.open(path, "w:gz") as tar:
            tar.add(batches / FOLDER, FOLDER)
        path = path if kind == "archive" else path.parent
    place = cifar_in(path)
    assert place is not None
    pictures, labels, tested, its_labels, names = read_cifar(place)
    assert (
        pictures.shape == (40, 3, 32, 32) and tested.shape == (8, 3, 32, 32) and names == ("airplane", "cat")
    )
    # A picture has one value in each channel: its number, and 0, 50 or 100 more.
    assert (pictures == (np.arange(40)[:, None] + [0, 50, 100])[:, :, None, None]).all()
    assert tested[3, 2, 5, 7] == 43 + 100
    assert labels.tolist() == [0, 1] * 20 and its_labels.tolist() == [0, 1] * 4


def test_torchvision_reads_the_same(batches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    theirs = CIFAR10(batches)
    pictures, labels, _, _, names = read_cifar(batches / FOLDER)
    np.testing.assert_array_equal(theirs.data, pictures.transpose(0, 2, 3, 1))
    assert theirs.targets == labels.tolist() and theirs.classes == list(names)


@pytest.mark.parametrize("protocol", [2, 4])
def test_batches_that_this_python_writes_are_read_too(batches: Path, protocol: int) -> None:
    rows = np.arange(8 * 3072, dtype=np.uint32).astype(np.uint8).reshape(8, 3072)
    contents = {b"data": rows, b"labels": [0, 1] * 4}
    (batches / FOLDER / TEST).write_bytes(pickle.dumps(contents, protocol=protocol))
    if protocol == 4:
        np.testing.assert_array_equal(read_cifar(batches / FOLDER)[2].reshape(8, -1), rows)
    else:  # this Python's bytes in protocol 2 are made by a function that is not admitted
        with pytest.raises(PhotostyleError, match=r"it names _codecs\.encode, which no array needs"):
            read_cifar(batches / FOLDER)


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("evil"),)


def test_a_pickle_that_names_a_function_is_refused_and_nothing_is_run(
    batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (TEST, NAMES):
        before = (batches / FOLDER / name).read_bytes()
        for evil in (
            pickle.dumps({b"data": Evil()}),
            b"cos\nsystem\n(S'touch evil'\ntR.",
            b"cbuiltins\neval\n.",
        ):
            (batches / FOLDER / name).write_bytes(evil)
            with pytest.raises(PhotostyleError, match="which no array needs"):
                read_cifar(batches / FOLDER)
        (batches / FOLDER / name).write_bytes(before)
    assert not Path("evil").exists()


@pytest.mark.parametrize(
    "name, damage, match",
    [
        (TRAIN[2], None, r"lacks data_batch_3"),
        (TRAIN[0], b"\x80\x02}q", r"data_batch_1 is no batch"),
        (TRAIN[0], pickle.dumps([1]), r"holds a list"),
        (
            TEST,
            pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, 4),
            r"holds no pictures",
        ),
        (
            TEST,
            pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": ["a"]}, 4),
            r"no class numbers",
        ),
        (
            TEST,
            pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [7]}, 4),
            r"beyond the 2 names",
        ),
        (NAMES, pickle.dumps({b"label_names": 3}), r"no list label_names"),
    ],
)
def test_a_damaged_batch_is_one_line(batches: Path, name: str, damage: bytes | None, match: str) -> None:
    path = batches / FOLDER / name
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(PhotostyleError, match=match) as caught:
        read_cifar(batches / FOLDER)
    assert "\n" not in str(caught.value)


def test_an_archive_that_is_cut_short_is_one_line(tmp_path: Path, batches: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(batches / FOLDER, FOLDER)
    (tmp_path / ARCHIVE).write_bytes(buffer.getvalue()[:-300])
    with pytest.raises(PhotostyleError, match=r"damaged or cut short|lacks"):
        read_cifar(tmp_path / ARCHIVE)


def read(name: object, **settings: object) -> Data:
    return read_data(str(name), FinetuneSettings(**settings), 224, 256)  # type: ignore[arg-type]


def test_cifar_keeps_its_own_test_set(batches: Path) -> None:
    data = read(batches, validation=0.2)
    assert (data.size, data.resize, data.flip, data.classes) == (32, 32, True, ("airplane", "cat"))
    assert [split.counts(2) for split in (data.training, data.validation, data.test)] == [
        [16, 16],
        [4, 4],
        [4, 4],
    ]
    pictures, labels = data.test.__getitems__([0, 3])
    assert pictures[1, 2, 5, 7] == 143 and labels.tolist() == [0, 1]
    assert read(batches, size=64).size == read(batches, size=64).resize == 64


def test_digits_are_scikit_learn_s_and_are_never_mirrored() -> None:
    data, theirs = read("digits"), load_digits()
    assert (data.size, data.resize, data.flip) == (32, 32, False)
    pictures, labels = data.test.__getitems__([0, 1])
    for place, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        index = data.test.indices[place]
        # 16 levels of ink over the 255 of a picture, rounded: half a level each way.
        np.testing.assert_allclose(
            picture[1].double().numpy() * 16 / 255, theirs.images[index], atol=0.5 * 16 / 255
        )
        assert int(label) == theirs.target[index] and (picture[0] == picture[2]).all()


def test_splits_are_disjoint_complete_even_and_seeded() -> None:
    labels = torch.arange(300) % 3
    parts = split_by_class(labels, "abc", (0.2, 0.1), seed=1)
    assert [len(each) for each in parts] == [60, 30, 210]
    assert sorted(index for each in parts for index in each) == list(range(300))
    assert [torch.bincount(labels[list(each)]).tolist() for each in parts] == [[20] * 3, [10] * 3, [70] * 3]
    assert split_by_class(labels, "abc", (0.2, 0.1), seed=1) == parts
    assert split_by_class(labels, "abc", (0.2, 0.1), seed=2) != parts


def write_folder(folder: Path, counts: dict[str, int], size: tuple[int, int] = (24, 12)) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for each in range(count):
            Image.new("RGB", size, (each, 0, 99)).save(folder / name / f"{each:03d}.png")
    return folder


def test_a_folder_s_sub_folders_are_the_classes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pets", {"dog": 20, "cat/tabby": 6, "cat/black": 4})
    (folder / "dog" / "broken.png").write_bytes(b"no picture")
    said = list[str]()
    data = read_data(str(folder), FinetuneSettings(size=16), 224, 256, say=said.append)
    assert data.classes == ("cat", "dog") and data.name == "pets"
    assert [split.counts(2) for split in (data.training, data.validation, data.test)] == [
        [7, 14],
        [1, 2],
        [2, 4],
    ]
    # torchvision's 256 for 224, of the size that was asked for.
    assert (data.size, data.resize) == (16, 18)
    pictures, _ = data.training.__getitems__([0, 1])
    assert pictures.shape == (2, 3, 18, 18) and pictures.dtype == torch.uint8
    assert (pictures[:, 2] == 99).all()
    assert (
        said[0] == f"{folder}: 1 of 31 pictures cannot be used"
        and "broken.png" in said[1]
        and len(data.skipped) == 1
    )
    assert said[-1].startswith("2 classes of 10 (cat) to 20 (dog): 21 to train on, 3 to choose by, 6 to test")


def test_uneven_classes_are_said(tmp_path: Path) -> None:
    data = read(write_folder(tmp_path, {"rare": 5, "common": 11}))
    assert balance(data).endswith("they are uneven: read the accuracy of each class")


@pytest.mark.parametrize(
    "counts, match",
    [
        ({"cat": 9, "dog": LEAST - 1}, r"too few pictures of dog \(4\): a class needs at least 5"),
        ({"cat": 9}, "only one class, cat"),
        ({"train": 9, "test": 9}, "holds test, train, a split and no classes"),
        ({"cat": 9, "dog": 9, ".": 1}, "lies beside the class folders"),
    ],
)
def test_a_folder_that_is_no_set_of_classes_is_one_line(
    tmp_path: Path, counts: dict[str, int], match: str
) -> None:
    with pytest.raises(PhotostyleError, match=match) as caught:
        read(write_folder(tmp_path, counts))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PhotostyleError, match="does not exist; expected a folder of pictures"):
        read(tmp_path / "none")
    with pytest.raises(PhotostyleError, match="nothing of cat is left to train on"):
        read(write_folder(tmp_path, {"cat": 5, "dog": 5}), test=0.6, validation=0.39)
