"""Weights come from the file given, the cache or a checked download; no code is run, nothing waited for."""

import contextlib
import hashlib
import http.server
import os
import pickle
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models
from vgg import narrow_vgg
from waiting import HANGS, closed_port

from photostyle.errors import PhotostyleError
from photostyle.losses import weights
from photostyle.losses.weights import WeightsNotFound, convolutions, find, locate

URLS = dict(weights.URLS)  # before `refusing` points them elsewhere


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty torch hub cache of the test's own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def refusing(monkeypatch) -> Iterator[str]:
    """A server that refuses: what would reach the network fails instead; those with a server point URLS at it."""
    monkeypatch.setenv("no_proxy", "*")
    with closed_port() as port:
        for architecture in weights.URLS:
            name = weights.URLS[architecture].rpartition("/")[2]
            monkeypatch.setitem(weights.URLS, architecture, f"http://127.0.0.1:{port}/{name}")
        yield f"http://127.0.0.1:{port}"


def test_the_addresses_are_those_of_torchvision():
    published = models.VGG16_Weights.IMAGENET1K_V1, models.VGG19_Weights.IMAGENET1K_V1
    assert URLS == {"vgg16": published[0].url, "vgg19": published[1].url}


@pytest.mark.parametrize(("architecture", "build"), [("vgg16", models.vgg16), ("vgg19", models.vgg19)])
def test_the_convolutions_stand_where_torchvision_has_them(architecture, build):
    with torch.device("meta"):
        features = build(weights=None, init_weights=False).features
    expected = [index for index, layer in enumerate(features) if isinstance(layer, nn.Conv2d)]
    assert list(convolutions(architecture).values()) == expected


def test_layers_are_numbered_within_their_block():
    assert list(convolutions("vgg16"))[:5] == ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"]
    assert convolutions("vgg19")["conv4_2"] == 21  # Gatys et al. 2016 take relu4_2 from there


def save_zip(state, path):
    torch.save(state, path)


def save_legacy(state, path):
    torch.save(
        state, path, _use_new_zipfile_serialization=False
    )  # torchvision's published files are of this kind


def save_nested(state, path):
    torch.save({"epoch": 3, "state_dict": state}, path)


def save_newer_pickle(state, path):
    torch.save(state, path, pickle_protocol=3)


def save_bare(state, path):
    torch.save({key.removeprefix("features."): value for key, value in state.items()}, path)


def save_with_classifier(state, path):
    torch.save(state | {"classifier.0.weight": torch.zeros(2, 2), "classifier.0.bias": torch.zeros(2)}, path)


def save_parameters(state, path):
    torch.save({key: nn.Parameter(value) for key, value in state.items()}, path)


def save_double(state, path):
    torch.save({key: value.double() for key, value in state.items()}, path)


@pytest.mark.parametrize(
    ("save", "name"),
    [
        (save_zip, "w.pth"),
        (save_zip, "w.pt"),
        (save_legacy, "w.pth"),
        (save_nested, "w.pth"),
        (save_newer_pickle, "w.pth"),
        (save_bare, "w.pth"),
        (save_with_classifier, "w.pth"),
        (save_parameters, "w.pth"),
        (save_double, "w.pth"),
        (save_file, "w.safetensors"),
    ],
)
def test_every_way_of_saving_gives_the_same_features(tmp_path, save, name):
    state = narrow_vgg()
    save(state, tmp_path / name)
    found = find(tmp_path / name)
    assert found.source == "file" and found.path == tmp_path / name
    assert found.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert found.state.keys() == state.keys()
    for key, value in found.state.items():
        assert value.dtype == torch.float32 and not value.requires_grad
        assert torch.equal(value, state[key])


def test_a_network_cut_short_is_read_as_far_as_it_goes(tmp_path):
    torch.save(narrow_vgg(count=5), tmp_path / "w.pth")
    assert len(find(tmp_path / "w.pth").state) == 10


@pytest.mark.parametrize(
    ("architecture", "name"), [("vgg19", "vgg19-dcbb9e9d.pth"), ("vgg16", "vgg16-397923af.pth")]
)
def test_the_hub_cache_is_used_whatever_its_hash(cache, architecture, name):
    torch.save(narrow_vgg(architecture), cache / name)
    assert locate(None, architecture, download=False) == cache / name
    found = find(None, architecture, download=False)
    assert (found.source, found.path) == ("cache", cache / name)
    assert not found.sha256.startswith(name[6:14])


def test_the_file_given_goes_before_the_cache(cache, tmp_path):
    torch.save(narrow_vgg(), cache / "vgg19-dcbb9e9d.pth")
    torch.save(narrow_vgg(count=1), tmp_path / "mine.pth")
    found = find(tmp_path / "mine.pth")
    assert found.source == "file" and len(found.state) == 2


def test_the_cache_does_not_stand_in_for_a_missing_file(cache, tmp_path):
    torch.save(narrow_vgg(), cache / "vgg19-dcbb9e9d.pth")
    for look in (find, locate):
        with pytest.raises(WeightsNotFound, match=r"mine\.pth does not exist"):
            look(tmp_path / "mine.pth")


def test_without_download_the_network_is_left_alone(cache, monkeypatch):
    monkeypatch.setattr(weights, "reachable", lambda url: pytest.fail("the network was asked"))
    assert locate(None, download=False) is None
    with pytest.raises(WeightsNotFound) as caught:
        find(None, download=False)
    message = str(caught.value)
    assert str(cache / "vgg19-dcbb9e9d.pth") in message and "was not asked" in message and "\n" not in message


def test_a_refused_connection_is_said(refusing):
    with pytest.raises(WeightsNotFound, match=f"{refusing}/vgg19-dcbb9e9d\\.pth cannot be reached"):
        find(None)


def test_a_server_that_never_answers_costs_the_probe_and_no_more(monkeypatch):
    monkeypatch.setattr(weights, "PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setitem(weights.URLS, "vgg19", f"http://127.0.0.1:{silent.getsockname()[1]}/vgg19-0.pth")
        assert locate(None) is None  # the server never answers: whoever waits for it hangs


def test_a_name_server_that_hangs_costs_the_probe_and_no_more(monkeypatch):
    monkeypatch.setattr(weights, "PROBE_SECONDS", 0.2)
    woken, answered = threading.Event(), threading.Event()

    def hang(*arguments, **options):
        woken.wait(HANGS)
        answered.set()
        raise socket.gaierror("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert locate(None) is None
    assert not answered.is_set()
    woken.set()


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class StallingHandler(Handler):
    """Announces a megabyte, sends a few bytes and falls silent."""

    released = threading.Event()

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(b"tensors")
        self.wfile.flush()
        self.released.wait(10)


@contextlib.contextmanager
def serving(handler) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server with one small VGG-19 whose name carries its true hash, or the digits asked for."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with serving(lambda *arguments: Handler(*arguments, directory=str(folder))) as address:

        def publish(digits: str | None = None) -> Path:
            torch.save(narrow_vgg(), folder / "new.pth")
            digits = digits or hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()[:8]
            (folder / "new.pth").rename(folder / f"vgg19-{digits}.pth")
            monkeypatch.setitem(weights.URLS, "vgg19", f"{address}/vgg19-{digits}.pth")
            return folder / f"vgg19-{digits}.pth"

        yield publish


def test_a_download_lands_whole_in_the_hub_cache_and_serves_the_next_run(cache, mirror, capfd):
    published, lines = mirror(), []
    assert locate(None) == cache / published.name
    found = find(None, progress=lines.append)
    assert (found.source, found.path) == ("download", cache / published.name)
    assert [path.read_bytes() for path in cache.iterdir()] == [published.read_bytes()]
    assert lines[0].startswith("downloading") and lines[1].startswith("downloaded") and len(lines) == 2
    assert find(None, download=False).source == "cache"
    assert capfd.readouterr() == ("", "")


def test_a_download_with_another_hash_is_thrown_away(cache, mirror):
    mirror(digits="dcbb9e9d")
    with pytest.raises(WeightsNotFound, match=r"failed \(invalid hash value"):
        find(None)
    assert list(cache.iterdir()) == []


def test_a_download_that_stalls_is_given_up_and_thrown_away(cache, monkeypatch):
    monkeypatch.setattr(weights, "STALL_SECONDS", 0.2)
    with serving(StallingHandler) as address:
        monkeypatch.setitem(weights.URLS, "vgg19", f"{address}/vgg19-dcbb9e9d.pth")
        with pytest.raises(WeightsNotFound, match=r"failed \(.*timed out"):
            find(None)
        StallingHandler.released.set()
    assert list(cache.iterdir()) == []


class Code:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def truncate(path, save, part):
    save(narrow_vgg(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])


def changed(**entries):
    return narrow_vgg() | {key.replace("__", "."): value for key, value in entries.items()}


def without(key):
    state = narrow_vgg()
    del state[key]
    return state


BAD_FILES = {
    "pickled code": ("w.pth", lambda path: path.write_bytes(pickle.dumps(Code()))),
    "a tensor beside code": ("w.pth", lambda path: torch.save({"a": torch.zeros(1), "b": Code()}, path)),
    "a whole module": ("w.pth", lambda path: torch.save(nn.Linear(2, 2), path)),
    "nothing": ("w.pth", lambda path: path.write_bytes(b"")),
    "nothing, safe": ("w.safetensors", lambda path: path.write_bytes(b"")),
    "text": ("w.pth", lambda path: path.write_text("<html>404</html>")),
    "text, safe": ("w.safetensors", lambda path: path.write_text("<html>404</html>")),
    "half a zip": ("w.pth", lambda path: truncate(path, save_zip, 0.5)),
    "half a legacy file": ("w.pth", lambda path: truncate(path, save_legacy, 0.5)),
    "most of a legacy file": ("w.pth", lambda path: truncate(path, save_legacy, 0.99)),
    "half a safetensors": ("w.safetensors", lambda path: truncate(path, save_file, 0.5)),
    "a directory": ("w.pth", lambda path: path.mkdir()),
    "another suffix": ("w.npz", lambda path: torch.save(narrow_vgg(), path)),
    "a list": ("w.pth", lambda path: torch.save(list(narrow_vgg().values()), path)),
    "an empty dict": ("w.pth", lambda path: torch.save({}, path)),
    "another network": ("w.pth", lambda path: torch.save({"conv1.weight": torch.zeros(2)}, path)),
    "VGG-16": ("w.pth", lambda path: torch.save(narrow_vgg("vgg16"), path)),
    "batch norm": ("w.pth", lambda path: torch.save(changed(features__1__weight=torch.ones(4)), path)),
    "a hole": ("w.pth", lambda path: torch.save(without("features.5.bias"), path)),
    "a missing kernel": ("w.pth", lambda path: torch.save(without("features.5.weight"), path)),
    "text for a tensor": ("w.pth", lambda path: torch.save(changed(features__5__bias="zero"), path)),
    "integers": ("w.pth", lambda path: torch.save(changed(features__5__bias=torch.ones(4).int()), path)),
    "1x1 kernels": (
        "w.pth",
        lambda path: torch.save(changed(features__5__weight=torch.ones(4, 4, 1, 1)), path),
    ),
    "other inputs": (
        "w.pth",
        lambda path: torch.save(changed(features__5__weight=torch.ones(4, 5, 3, 3)), path),
    ),
    "a short bias": ("w.pth", lambda path: torch.save(changed(features__5__bias=torch.ones(3)), path)),
    "not a number": ("w.pth", lambda path: torch.save(changed(features__5__bias=torch.ones(4) / 0), path)),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_line_that_names_it_and_what_to_do(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    name, write = BAD_FILES[kind]
    write(tmp_path / name)
    with pytest.raises(PhotostyleError) as caught:
        find(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / name)) and ": " in message
    assert "\n" not in message and len(message) < 500
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_a_truncated_file_is_called_damaged(tmp_path, save):
    truncate(tmp_path / "w.pth", save, 0.5)
    with pytest.raises(PhotostyleError, match=r"w\.pth is damaged"):
        find(tmp_path / "w.pth")


def test_a_file_that_may_not_be_opened_says_so(tmp_path, monkeypatch):
    torch.save(narrow_vgg(), tmp_path / "w.pth")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PhotostyleError, match=r"w\.pth cannot be read \(Permission denied\)"):
        find(tmp_path / "w.pth")


def test_an_empty_file_and_a_directory_are_called_what_they_are(tmp_path):
    (tmp_path / "empty.pth").touch()
    with pytest.raises(PhotostyleError, match=r"empty\.pth is empty \(0 bytes\)"):
        find(tmp_path / "empty.pth")
    with pytest.raises(PhotostyleError, match="is a directory"):
        find(tmp_path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a device of POSIX")
def test_a_file_without_an_end_is_refused():
    with pytest.raises(PhotostyleError, match="is no ordinary file"):
        find(Path("/dev/zero"))


def test_a_name_or_a_cache_that_cannot_be_asked_for_holds_no_weights(monkeypatch, tmp_path):
    with pytest.raises(WeightsNotFound, match="does not exist"):
        find(tmp_path / ("y" * 300))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / ("y" * 300)))
    with pytest.raises(WeightsNotFound, match="was not asked"):
        find(None, download=False)


def test_weights_of_the_other_architecture_are_named(tmp_path):
    torch.save(narrow_vgg("vgg16"), tmp_path / "w.pth")
    with pytest.raises(PhotostyleError, match=r"is no vgg19: .* use it as vgg16"):
        find(tmp_path / "w.pth", "vgg19")
    found = find(tmp_path / "w.pth", "vgg16")
    assert len(found.state) == 26
    with pytest.raises(PhotostyleError, match=r"is no vgg19: .* use it as vgg16"):
        find(found, "vgg19")


def test_what_was_found_is_found_again_without_its_file(tmp_path):
    torch.save(narrow_vgg(), tmp_path / "w.pth")
    found = find(tmp_path / "w.pth")
    (tmp_path / "w.pth").unlink()
    assert find(found) is found
    assert locate(found) == tmp_path / "w.pth"


def test_a_damaged_cache_file_is_an_error_and_not_a_reason_to_download(cache, monkeypatch):
    (cache / "vgg19-dcbb9e9d.pth").write_bytes(b"half")
    monkeypatch.setattr(weights, "reachable", lambda url: pytest.fail("the network was asked"))
    with pytest.raises(PhotostyleError, match=r"vgg19-dcbb9e9d\.pth is damaged"):
        find(None)


def test_an_unknown_architecture_lists_those_there_are():
    with pytest.raises(PhotostyleError, match='unknown architecture "vgg11": give vgg16 or vgg19'):
        find(None, "vgg11")


def test_a_slim_vgg_loads_by_the_same_code(shared):
    found = find(shared / "encoders" / "slim_vgg19.safetensors")
    assert found.state["features.28.weight"].shape == (128, 128, 3, 3)  # conv5_1 is its deepest
    assert max(int(key.split(".")[1]) for key in found.state) == 28
