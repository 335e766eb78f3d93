"""A segmenter comes from where it is said to, is what its files say, and is refused in one line otherwise."""

import contextlib
import hashlib
import http.server
import json
import logging
import os
import pickle
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache as once
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import segmentation_models_pytorch as smp
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights
from waiting import HANGS, closed_port

from photostyle.errors import PhotostyleError
from photostyle.losses import weights
from segmentation import architectures, hub, networks
from segmentation.networks import NVIDIA, SegmenterNotFound, find_segmenter

LIGHT, SEGFORMER = networks.NAMES["light"], networks.NAMES["segformer"]
OLD, NEW = "1" * 40, "2" * 40  # commits


def slow(*values: Any) -> Any:
    """Values of a test for which others stand by default."""
    return pytest.param(*values, marks=pytest.mark.slow)


DEEPLAB_URL = networks.DEEPLAB_URL  # before a test points it elsewhere


@once
def tiny(classes: int = 150, seed: int = 0, **options) -> nn.Module:
    """UPerNet on timm's smallest ConvNeXt: what "light" is, in one megabyte."""
    torch.manual_seed(seed)
    encoder = "tu-test_convnext.r160_in1k"
    return smp.UPerNet(encoder, encoder_weights=None, classes=classes, decoder_channels=16, **options).eval()


@once
def two_heads() -> nn.Module:
    return tiny.__wrapped__(aux_params={"classes": 5})


def tiny_swin() -> nn.Module:
    torch.manual_seed(0)
    encoder = {
        "img_size": 64,
        "embed_dim": 8,
        "depths": (1, 1, 1, 1),
        "num_heads": (1, 1, 1, 1),
        "window_size": 2,
    }
    name = "tu-swin_tiny_patch4_window7_224"
    return smp.UPerNet(name, encoder_weights=None, classes=150, decoder_channels=8, **encoder).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Callable[..., Path]:
    """A model's folder as save_pretrained writes it; each model is made once."""
    folders: dict[str, Path] = {}

    def save(name: str, model: Callable[[], nn.Module]) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            model().save_pretrained(folders[name])
        return folders[name]

    return save


@pytest.fixture(scope="module")
def old(saved) -> Path:
    return saved("old", tiny)


@pytest.fixture(scope="module")
def new(saved) -> Path:
    return saved("new", lambda: tiny(seed=1))


@pytest.fixture(autouse=True)
def refusing() -> Iterator[str]:
    """The address of a hub that refuses connections."""
    with closed_port() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def cache(refusing, tmp_path, monkeypatch) -> Path:
    """Empty caches of the test's own, and a hub that refuses: what would reach the network fails instead."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    point_at(refusing, monkeypatch)
    monkeypatch.setattr(networks, "DEEPLAB_URL", f"{refusing}/deeplabv3_resnet50_coco-cd0a2569.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    return folder


def point_at(endpoint: str, monkeypatch) -> None:
    """What HF_ENDPOINT does when it is set before huggingface_hub is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )


def seed(cache: Path, repository: str, snapshots: Mapping[str, Path], **refs: str) -> Path:
    """The hub's cache as a download leaves it: files named by their hashes, links to them, and references."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    for commit, source in snapshots.items():
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "blobs").mkdir(exist_ok=True)
        for file in (hub.CONFIG, hub.MODEL):
            blob = folder / "blobs" / sha256(source / file)
            shutil.copyfile(source / file, blob)
            (folder / "snapshots" / commit / file).symlink_to(
                os.path.relpath(blob, folder / "snapshots" / commit)
            )
    (folder / "refs").mkdir(exist_ok=True)
    for name, commit in refs.items():
        (folder / "refs" / name).write_text(commit)
    return folder


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def logits(network: nn.Module, side: int = 64) -> Tensor:
    with torch.inference_mode():
        output = network(torch.linspace(-2, 2, 3 * side * side).view(1, 3, side, side))
        return output["out"] if isinstance(output, dict) else output


def refusal(*arguments, kind: type[PhotostyleError] = PhotostyleError, **options) -> str:
    """The one line that finding a segmenter ends with."""
    with pytest.raises(kind) as caught:
        find_segmenter(*arguments, **options)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 600, line
    return line


# The hub's cache


def test_a_cached_model_is_found_without_a_word_to_the_network(cache, old, capfd):
    seed(cache, LIGHT, {OLD: old}, main=OLD)
    said: list[str] = []
    found = find_segmenter("light", say=said.append)
    assert (found.name, found.source, found.revision) == (LIGHT, "cache", OLD)
    assert found.sha256 == sha256(old / hub.MODEL)
    assert (found.vocabulary, found.size, found.stride, found.fixed) == ("ade20k", 512, 32, False)
    assert found.licence == "MIT" and said == []
    assert not found.network.training and not any(p.requires_grad for p in found.network.parameters())
    assert torch.equal(logits(found.network), logits(tiny()))
    assert capfd.readouterr() == ("", "")


def test_the_full_name_is_the_same_model(cache, old):
    seed(cache, LIGHT, {OLD: old}, main=OLD)
    assert find_segmenter(LIGHT).revision == find_segmenter("light").revision


@pytest.mark.slow
def test_a_pinned_revision_is_that_one_and_none_pinned_is_main(cache, old, new):
    seed(cache, LIGHT, {OLD: old, NEW: new}, main=NEW, v1=OLD)
    for revision, commit, folder in ((OLD, OLD, old), (NEW, NEW, new), (None, NEW, new), ("v1", OLD, old)):
        found = find_segmenter("light", revision)
        assert found.revision == commit and found.sha256 == sha256(folder / hub.MODEL)


@pytest.mark.slow
def test_name_and_revision_find_the_same_network_again(cache, old, new, tmp_path):
    seed(cache, LIGHT, {OLD: old, NEW: new}, main=NEW)
    file = tmp_path / "small.pth"
    torch.save(lraspp().state_dict(), file)
    assert "expected 0000000" in refusal(str(file), "0000000")
    for first in (find_segmenter("light", OLD), find_segmenter(str(new)), find_segmenter(str(file))):
        again = find_segmenter(first.name, first.revision)
        assert (again.source, again.sha256) == (first.source, first.sha256)


@pytest.mark.parametrize("file", [hub.CONFIG, hub.MODEL])
def test_half_a_download_is_no_model(cache, refusing, old, file):
    folder = seed(cache, LIGHT, {OLD: old}, main=OLD)
    (folder / "blobs" / sha256(old / file)).rename(folder / "blobs" / "unfinished.incomplete")
    line = refusal("light", kind=SegmenterNotFound)
    assert line.startswith(
        f"{LIGHT} could not be loaded: {cache} holds no complete copy of it and {refusing}"
    )


def test_a_cached_file_is_what_its_name_says(cache, old, new):
    folder = seed(cache, LIGHT, {OLD: old}, main=OLD)
    digest = sha256(old / hub.MODEL)
    shutil.copyfile(new / hub.MODEL, folder / "blobs" / digest)  # sound, but not what was published
    line = refusal("light")
    assert f"has the SHA-256 {sha256(new / hub.MODEL)[:16]}…, expected {digest[:16]}…" in line


def test_a_cache_without_links_is_read_too(cache, old):
    folder = cache / f"models--{LIGHT.replace('/', '--')}"
    shutil.copytree(old, folder / "snapshots" / OLD)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(OLD)
    assert find_segmenter("light").revision == OLD


# Offline


def test_offline_is_said_in_one_line(cache, refusing):
    """At the first refusal: whatever the probe raises is the answer, and nothing is tried again."""
    line = refusal("light", kind=SegmenterNotFound)
    said = re.fullmatch(r"(.+?) \((.+)\); (.+)", line)
    assert said and said[1] == (
        f"{LIGHT} could not be loaded: {cache} holds no complete copy of it and {refusing} cannot be reached"
    )
    assert "no answer" not in said[2]  # the refusal itself, in the words of the HTTP library
    assert said[3] == "go online once, or give a folder with its config.json and model.safetensors"


def test_a_hub_that_says_nothing_is_not_waited_for(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_at(f"http://127.0.0.1:{silent.getsockname()[1]}", monkeypatch)
        monkeypatch.setattr(hub, "PROBE_SECONDS", 0.2)
        line = refusal("light", kind=SegmenterNotFound)
    assert "cannot be reached (" in line


def test_a_look_up_that_hangs_is_not_waited_for(monkeypatch):
    woken = threading.Event()

    class Hanging:
        def head(self, *_, **__) -> None:
            woken.wait(HANGS)

    monkeypatch.setattr(huggingface_hub.utils, "get_session", Hanging)
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.1)
    assert "cannot be reached (no answer in 0 s)" in refusal("light", kind=SegmenterNotFound)
    woken.set()


def test_another_revision_in_the_cache_does_not_stand_in(cache, old):
    seed(cache, LIGHT, {OLD: old}, main=OLD)
    line = refusal("light", NEW, kind=SegmenterNotFound)
    assert line.startswith(f"{LIGHT} at revision {NEW} could not be loaded")


def test_who_forbids_the_download_is_named(monkeypatch):
    assert "and no download was asked for;" in refusal("light", download=False, kind=SegmenterNotFound)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "and HF_HUB_OFFLINE is set;" in refusal("light", kind=SegmenterNotFound)


@pytest.mark.parametrize(
    "name", ["/nowhere/model", "some/model", "nvidia/segformer-b0", "smp-hub/", "smp-hub/../x"]
)
def test_a_path_that_does_not_exist_is_not_sought_on_the_hub(name):
    line = refusal(name, kind=SegmenterNotFound)
    assert line.startswith(
        f'no segmenter "{name}": give light, strong, segformer, deeplab, an smp-hub/… model'
    )


def test_a_slip_of_the_pen_is_understood():
    assert "no segmenter \"lihgt\"; did you mean 'light'?" in refusal("lihgt", kind=SegmenterNotFound)


# The hub


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub's interface that a download uses; `files` are one model's."""

    files: Mapping[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith(f"/api/models/{LIGHT}/revision/"):
            siblings = [{"rfilename": name} for name in self.files]
            self.answer(json.dumps({"id": LIGHT, "sha": NEW, "siblings": siblings}).encode())
        elif self.path.startswith(f"/api/models/{LIGHT}/tree/{NEW}"):
            self.answer(json.dumps([self.entry(name) for name in self.files]).encode())
        elif self.path.startswith(f"/{LIGHT}/resolve/{NEW}/"):
            self.answer(self.files[self.path.rpartition("/")[2]])
        else:
            self.answer(b"{}", 404)

    do_HEAD = do_GET

    def entry(self, name: str) -> dict:
        content = self.files[name]
        lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        return entry | ({"lfs": lfs} if name == hub.MODEL else {})

    def answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", NEW)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def published(folder: Path, *names: str) -> type[Hub]:
    files = {name: (folder / name).read_bytes() for name in names}
    files |= {"README.md": b"hello", "pytorch_model.bin": pickle.dumps(os.getcwd)}
    return type("Published", (Hub,), {"files": files, "asked": []})


@pytest.mark.slow
def test_a_download_takes_two_files_and_is_not_repeated(monkeypatch, cache, new, capfd):
    handler = published(new, hub.CONFIG, hub.MODEL)
    said: list[str] = []
    with serving(handler) as endpoint:
        point_at(endpoint, monkeypatch)
        found = find_segmenter("light", say=said.append)
    assert (found.source, found.revision, found.sha256) == ("hub", NEW, sha256(new / hub.MODEL))
    assert said == [f"downloading {LIGHT} from {endpoint} to {cache}"]
    assert capfd.readouterr() == ("", "")
    fetched = {path.rpartition("/")[2] for path in handler.asked if "/resolve/" in path}
    assert fetched == {hub.CONFIG, hub.MODEL}
    assert find_segmenter("light").source == find_segmenter("light", NEW).source == "cache"
    assert torch.equal(logits(found.network), logits(tiny(seed=1)))
    assert not huggingface_hub.utils.are_progress_bars_disabled()


def test_the_revision_that_is_asked_for_is_downloaded(monkeypatch, new):
    handler = published(new, hub.CONFIG, hub.MODEL)
    with serving(handler) as endpoint:
        point_at(endpoint, monkeypatch)
        assert find_segmenter("light", "v1").revision == NEW
    assert f"/api/models/{LIGHT}/revision/v1" in handler.asked
    assert find_segmenter("light", "v1").source == "cache"


def test_a_model_that_the_hub_does_not_have_is_named(monkeypatch, old):
    with serving(published(old, hub.CONFIG, hub.MODEL)) as endpoint:
        point_at(endpoint, monkeypatch)
        line = refusal("smp-hub/upernet-nonesuch", kind=SegmenterNotFound)
    assert line.startswith("the download of smp-hub/upernet-nonesuch failed (")


def test_pickled_weights_are_not_even_fetched(monkeypatch, old):
    handler = published(old, hub.CONFIG)
    with serving(handler) as endpoint:
        point_at(endpoint, monkeypatch)
        line = refusal("light", kind=SegmenterNotFound)
    assert line == f"{LIGHT} has no {hub.MODEL} on the hub: give another model"
    assert not [path for path in handler.asked if path.endswith(".bin")]


def test_what_the_hub_has_to_say_does_not_reach_the_terminal(monkeypatch, old):
    records: list[logging.LogRecord] = []
    listener = logging.Handler()
    monkeypatch.setattr(listener, "emit", records.append)
    logger = logging.getLogger("huggingface_hub")
    logger.addHandler(listener)
    try:
        with serving(published(old)) as endpoint:
            point_at(endpoint, monkeypatch)
            line = refusal("light", kind=SegmenterNotFound)
        assert line == f"{LIGHT} has no {hub.CONFIG} and no {hub.MODEL} on the hub: give another model"
        assert records == []  # "No files matched"
        logger.warning("as before")
        assert len(records) == 1
    finally:
        logger.removeHandler(listener)


def test_a_lost_connection_is_named_and_not_the_cache_that_could_not_help(monkeypatch):
    def lost(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("An error happened") from OSError(
            "reset by peer"
        )

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lost)
    with serving(Hub) as endpoint:
        monkeypatch.setattr(Hub, "asked", [], raising=False)
        point_at(endpoint, monkeypatch)
        line = refusal("light", kind=SegmenterNotFound)
    assert line == f"the download of {LIGHT} failed (reset by peer): check its name, or try again"


# A folder, and what a model says of itself


def test_a_folder_is_known_by_the_hash_of_its_weights(old):
    found = find_segmenter(str(old))
    assert (found.name, found.source) == (str(old), "folder")
    assert found.revision == found.sha256 == sha256(old / hub.MODEL)
    assert found.licence == "not stated"
    assert torch.equal(logits(found.network), logits(tiny()))
    assert find_segmenter(str(old), found.sha256[:8]).revision == found.revision
    assert "expected 0000000" in refusal(str(old), "0000000")


def test_a_folder_called_as_one_of_ours_is_none_of_ours(tmp_path, monkeypatch, old):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(old, tmp_path / "light")
    assert refusal("light", kind=SegmenterNotFound).startswith(LIGHT)
    assert find_segmenter("./light").source == "folder"


def test_a_folder_called_as_a_hub_model_is_the_users_own(tmp_path, monkeypatch, old):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(old, tmp_path / "smp-hub" / "upernet-640x640")
    found = find_segmenter("smp-hub/upernet-640x640")
    assert (found.source, found.licence, found.size) == ("folder", "not stated", 512)


def changed(folder: Path, target: Path, **options: object) -> Path:
    """A copy of a model's folder with other entries in its configuration."""
    shutil.copytree(folder, target)
    config = json.loads((target / hub.CONFIG).read_text()) | options
    (target / hub.CONFIG).write_text(json.dumps(config))
    return target


@pytest.mark.parametrize("options", [{"encoder_weights": True}, {"activation": "softmax2d"}])
def test_neither_encoder_weights_nor_an_activation_is_taken_from_the_configuration(tmp_path, old, options):
    # smp's own loader would download the encoder here, and give probabilities for logits.
    found = find_segmenter(str(changed(old, tmp_path / "changed", **options)))
    assert torch.equal(logits(found.network), logits(tiny()))


@pytest.mark.slow
def test_a_head_for_whole_pictures_is_left_out(saved):
    folder = saved("two-heads", two_heads)
    assert torch.equal(logits(find_segmenter(str(folder)).network), logits(two_heads())[0])


@pytest.mark.slow
def test_the_licence_that_forbids_commerce_is_said_aloud(cache, saved):
    folder = saved("segformer", lambda: smp.Segformer("mit_b0", encoder_weights=None, classes=150).eval())
    seed(cache, SEGFORMER, {OLD: folder}, main=OLD)
    for name, line in (("segformer", SEGFORMER), (str(folder), folder)):
        said: list[str] = []
        found = find_segmenter(name, say=said.append)
        assert found.licence == NVIDIA and "no commercial use" in NVIDIA
        assert said == [f"the weights of {line} are under the {NVIDIA}"]


@pytest.mark.parametrize(
    ("repository", "classes", "vocabulary", "size"),
    [
        ("smp-hub/segformer-b0-512x1024-city-160k", 19, "cityscapes", 512),
        slow("smp-hub/segformer-b5-640x640-ade-160k", 150, "ade20k", 640),
        slow("smp-hub/upernet-convnext-small", 150, "ade20k", 512),
        slow("smp-hub/none-of-them", 19, "cityscapes", 1024),
        ("smp-hub/none-of-them", 21, "voc", 520),
    ],
)
def test_the_name_tells_the_size_or_else_the_classes_do(cache, saved, repository, classes, vocabulary, size):
    folder = saved(f"tiny-{classes}", lambda: tiny(classes))
    seed(cache, repository, {OLD: folder}, main=OLD)
    found = find_segmenter(repository)
    assert (found.vocabulary, found.size) == (vocabulary, size)


def test_a_larger_network_has_seen_larger_pictures_of_ade20k(saved, old, monkeypatch):
    assert architectures.LARGE["tu-convnext_large"] == 640  # "strong"
    monkeypatch.setitem(architectures.LARGE, "tu-test_convnext.r160_in1k", 640)
    assert find_segmenter(str(old)).size == 640
    assert find_segmenter(str(saved("tiny-19", lambda: tiny(19)))).size == 1024


@pytest.mark.slow
def test_a_swin_takes_one_size_only(saved):
    found = find_segmenter(str(saved("swin", tiny_swin)))
    assert (found.fixed, found.size) == (True, 64)


def test_a_swin_of_one_oblong_size_is_refused(saved, tmp_path):
    folder = changed(saved("swin", tiny_swin), tmp_path / "changed", img_size=[64, 128])
    assert "takes 128x64 only, expected a square" in refusal(str(folder))


@pytest.mark.parametrize(
    ("encoder", "mean"),
    [
        *(("tu-convnext_tiny", (0.485, 0.456, 0.406)), ("mit_b2", (0.485, 0.456, 0.406))),
        *(
            ("tu-swin_tiny_patch4_window7_224", (0.485, 0.456, 0.406)),
            ("tu-vit_large_patch16_384", (0.5,) * 3),
        ),
    ],
)
def test_the_input_is_normalised_as_for_the_encoder(encoder, mean):
    assert architectures._normalisation(encoder)[0] == mean


def test_a_network_has_the_normalisation_of_its_encoder(old):
    found = find_segmenter(str(old))
    assert found.mean == found.std == (0.5, 0.5, 0.5)  # timm's test models


@pytest.mark.slow
def test_the_seed_of_the_caller_stays(old, tmp_path):
    torch.save(lraspp().state_dict(), tmp_path / "small.pth")
    state = torch.get_rng_state()
    find_segmenter(str(old))
    find_segmenter(str(tmp_path / "small.pth"))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_network_goes_to_the_device(old):
    found = find_segmenter(str(old), device="meta")
    assert found.device == torch.device("meta")
    assert {p.device.type for p in found.network.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"_model_class": "Sequential"}, "has _model_class = 'Sequential', expected one of Unet, "),
        ({"_model_class": "create_model"}, "has _model_class = 'create_model'"),
        ({"_model_class": None}, "has _model_class = None"),
        ({"encoder_name": "tu-nonesuch"}, "has encoder_name = 'tu-nonesuch', unknown to smp 0"),
        ({"encoder_name": "nonesuch"}, "has encoder_name = 'nonesuch', unknown to smp 0"),
        ({"encoder_name": "tu-hf-hub:some/model"}, "has encoder_name = 'tu-hf-hub:some/model', unknown to"),
        ({"encoder_name": None}, "has encoder_name = 'None', unknown to"),
        ({"classes": 7}, "has 7 classes, expected one of 150 (ade20k), 19 (cityscapes), 21 (voc)"),
        ({"in_channels": 4}, "has in_channels = 4, expected 3"),
        ({"nonesuch": 1}, "describes no UPerNet ("),
        ({"encoder_depth": 9}, "describes no UPerNet ("),
        (
            {"decoder_channels": 8},
            "does not fit the config.json beside it (Error(s) in loading state_dict for UPerNet",
        ),
        ({"classes": 19}, "does not fit the config.json beside it"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_a_line(tmp_path, old, options, words):
    assert words in refusal(str(changed(old, tmp_path / "changed", **options)))


@pytest.mark.parametrize(
    ("text", "words"), [("{", "is no JSON ("), ("[1]", "holds a list, expected a table"), ("", "is no JSON")]
)
def test_a_configuration_that_is_none_is_refused(tmp_path, old, text, words):
    folder = changed(old, tmp_path / "changed")
    (folder / hub.CONFIG).write_text(text)
    assert words in refusal(str(folder))


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def pickled(file: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, file)


def lacking(file: Path) -> None:
    state = load_file(file)
    state.popitem()
    save_file(state, file)


def overfull(file: Path) -> None:
    save_file(load_file(file) | {"more": torch.zeros(1)}, file)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (truncated, "is damaged or holds more than tensors (SafetensorError)"),
        (emptied, "is empty (0 bytes)"),
        (pickled, "is damaged or holds more than tensors"),
        (lacking, "does not fit the config.json beside it"),
        slow(overfull, "does not fit the config.json beside it"),
    ],
)
def test_damaged_weights_are_refused_in_a_line(tmp_path, cache, old, harm, words):
    folder = changed(old, tmp_path / "changed")
    harm(folder / hub.MODEL)
    line = refusal(str(folder))
    assert words in line and "VGG" not in line
    seed(cache, LIGHT, {OLD: folder}, main=OLD)
    assert words in refusal("light")


@pytest.mark.parametrize("file", [hub.CONFIG, hub.MODEL])
def test_a_folder_that_lacks_a_file_is_told_which(tmp_path, old, file):
    folder = changed(old, tmp_path / "changed")
    (folder / file).unlink()
    assert refusal(str(folder)).startswith(f"{folder} lacks {file}: give a folder as")


# torchvision


@once
def lraspp(classes: int = 21) -> nn.Module:
    torch.manual_seed(0)
    return get_model(
        "lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=classes
    ).eval()


def zeros(architecture: str, classes: int = 21, **options) -> dict[str, Tensor]:
    """A state dict of the right shapes, all zeros, that takes no room in a file: one number is stored for each."""
    with torch.device("meta"):
        network = get_model(architecture, weights=None, weights_backbone=None, num_classes=classes, **options)
    return {k: torch.zeros((), dtype=v.dtype).expand(v.shape) for k, v in network.state_dict().items()}


def cached_deeplab(monkeypatch, digits: str | None = None) -> Path:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(zeros("deeplabv3_resnet50", aux_loss=True), folder / "new.pth")
    file = folder / f"deeplabv3_resnet50_coco-{digits or sha256(folder / 'new.pth')[:8]}.pth"
    monkeypatch.setattr(networks, "DEEPLAB_URL", networks.DEEPLAB_URL.rpartition("/")[0] + f"/{file.name}")
    return (folder / "new.pth").rename(file)


def test_the_address_is_that_of_torchvision():
    assert DEEPLAB_URL == DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.url
    transforms = DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.transforms()
    assert transforms.resize_size == [architectures.TORCHVISION_SIZE]
    assert (tuple(transforms.mean), tuple(transforms.std)) == architectures.IMAGENET


@pytest.mark.slow
def test_deeplab_is_found_in_the_torch_hub_cache(monkeypatch):
    file = cached_deeplab(monkeypatch)
    found = find_segmenter("deeplab")
    assert (found.name, found.source, found.revision) == ("deeplab", "cache", sha256(file))
    assert (found.vocabulary, found.size, found.stride) == ("voc", 520, 8)
    assert (found.licence, found.mean) == ("BSD-3-Clause", (0.485, 0.456, 0.406))
    assert found.network.aux_classifier is None  # a third of the work, for training only
    assert torch.equal(logits(found.network), torch.zeros(1, 21, 64, 64))


def test_deeplab_with_another_hash_than_its_name_has_is_refused(monkeypatch):
    cached_deeplab(monkeypatch, digits="cd0a2569")
    assert "expected cd0a2569…: it is damaged or another file" in refusal("deeplab")


def test_deeplab_offline_is_one_line(refusing):
    line = refusal("deeplab", kind=SegmenterNotFound)
    file = Path(torch.hub.get_dir()) / "checkpoints" / "deeplabv3_resnet50_coco-cd0a2569.pth"
    assert line.startswith(f"deeplab could not be loaded: it is not at {file} and {refusing}")
    assert "and no download was asked for;" in refusal("deeplab", download=False, kind=SegmenterNotFound)


@pytest.mark.slow
def test_deeplab_is_downloaded_and_checked(monkeypatch, tmp_path):
    content = cached_deeplab(monkeypatch).read_bytes()
    shutil.rmtree(Path(torch.hub.get_dir()))
    name = networks.DEEPLAB_URL.rpartition("/")[2]

    class Server(Hub):
        def do_GET(self) -> None:
            self.answer(content)

        do_HEAD = do_GET

    said: list[str] = []
    with serving(Server) as endpoint:
        monkeypatch.setattr(networks, "DEEPLAB_URL", f"{endpoint}/wrong-00000000.pth")
        assert "failed" in refusal("deeplab", kind=SegmenterNotFound)
        monkeypatch.setattr(networks, "DEEPLAB_URL", f"{endpoint}/{name}")
        found = find_segmenter("deeplab", say=said.append)
    assert (found.source, found.sha256) == ("hub", hashlib.sha256(content).hexdigest())
    assert len(said) == 2 and said[0].startswith("downloading ")
    assert find_segmenter("deeplab").source == "cache"


@pytest.mark.parametrize(
    "architecture",
    [name if name.startswith("lraspp") else slow(name) for name in architectures.TORCHVISION],
)
def test_a_file_of_torchvisions_is_known_by_its_tensors(tmp_path, architecture):
    options = {} if architecture.startswith("lraspp") else {"aux_loss": True}
    torch.save(zeros(architecture, 19, **options), tmp_path / "mine.pth")
    found = find_segmenter(str(tmp_path / "mine.pth"))
    assert type(found.network).__name__ == ("LRASPP" if architecture.startswith("lraspp") else "DeepLabV3")
    assert (found.source, found.vocabulary, found.licence) == ("file", "cityscapes", "not stated")
    assert found.stride == architectures.TORCHVISION[architecture] and found.size == 520
    with torch.device("meta"):
        expected = get_model(
            architecture, weights=None, weights_backbone=None, num_classes=19, aux_loss=False
        )
    assert found.network.state_dict().keys() == expected.state_dict().keys()


@pytest.mark.parametrize(
    "architecture", [slow(name) if "resnet" in name else name for name in architectures.TORCHVISION]
)
def test_the_strides_are_those_of_the_backbones(architecture):
    with torch.device("meta"):
        network = get_model(architecture, weights=None, weights_backbone=None).eval()
        features = network.backbone(torch.empty(1, 3, 128, 256))
    coarsest = min(tuple(feature.shape[2:]) for feature in features.values())
    stride = architectures.TORCHVISION[architecture]
    assert coarsest == (128 // stride, 256 // stride)


@pytest.mark.parametrize(
    ("save", "name"),
    [
        slow(torch.save, "mine.pth"),
        slow(lambda state, file: torch.save({"model": state, "epoch": 3}, file), "mine.pt"),
        (lambda state, file: torch.save({"state_dict": state}, file), "mine.pth"),
        slow(
            lambda state, file: torch.save({k: nn.Parameter(v, False) for k, v in state.items()}, file),
            "mine.pth",
        ),
        (save_file, "mine.safetensors"),
    ],
)
def test_every_way_of_saving_gives_the_same_network(tmp_path, save, name):
    network = lraspp()
    save(network.state_dict(), tmp_path / name)
    found = find_segmenter(str(tmp_path / name))
    assert not found.network.training
    assert torch.equal(logits(found.network), logits(network))


def test_half_precision_is_made_single(tmp_path):
    state = {k: v.half() if v.is_floating_point() else v for k, v in lraspp().state_dict().items()}
    torch.save(state, tmp_path / "half.pth")
    network = find_segmenter(str(tmp_path / "half.pth")).network
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert logits(network).isfinite().all()


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"features.0.weight": torch.zeros(4, 3, 3, 3)}, "fits none of deeplabv3_resnet50, "),
        ({"classifier.4.weight": torch.zeros(21, 256, 1, 1)}, "(found classifier.4.weight)"),
        ({"classifier.4.weight": torch.zeros(())}, "fits none of"),
        slow(
            zeros("lraspp_mobilenet_v3_large") | {"classifier.cbr.0.weight": torch.zeros(64, 960, 1, 1)},
            "fits none of",
        ),
        ({}, "(found nothing)"),
        ([torch.zeros(1)], "holds no state dict"),
        ({"epoch": 3}, "holds no state dict"),
        (zeros("lraspp_mobilenet_v3_large", 5), "has 5 classes, expected one of 150 (ade20k), 19"),
    ],
)
def test_a_file_of_something_else_is_refused_in_a_line(tmp_path, contents, words):
    torch.save(contents, tmp_path / "mine.pth")
    assert words in refusal(str(tmp_path / "mine.pth"))


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, tmp_path / "mine.pth")
    assert "pickled code is never run" in refusal(str(tmp_path / "mine.pth"))
    assert not (tmp_path / "evil").exists()


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"x")
    assert 'ends in ".png"' in refusal(str(tmp_path / "photo.png"))
    (tmp_path / "empty.pth").write_bytes(b"")
    assert "is empty (0 bytes)" in refusal(str(tmp_path / "empty.pth"))


def test_seconds_of_a_probe_are_those_of_the_weights():
    assert hub.PROBE_SECONDS == weights.PROBE_SECONDS
