"""Checkpoints: what goes in comes out, a damaged one falls back to the one before, nothing is ever run."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from photostyle.errors import PhotostyleError
from photostyle.files.checkpoints import load_checkpoint, previous_path, refuse_other, save_checkpoint
from photostyle.training.states import random_states, restore, restore_random_states, states_of


def trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A tiny network with dropout, which draws from torch's own generator, after so many steps of Adam."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    step(model, optimiser, steps)
    return model, optimiser


def step(model: nn.Module, optimiser: torch.optim.Optimizer, times: int) -> None:
    for _ in range(times):
        optimiser.zero_grad()
        model(torch.rand(2, 3, 8, 8)).square().mean().backward()
        optimiser.step()


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    state = {
        "numbers": {0: 1, "one": 0.1, "none": None, "yes": True, "infinite": float("inf")},
        "lists": [(0.9, 0.999), ["text", "é"], {}],
        "tensors": [shared, shared.T, torch.tensor(3), torch.tensor([True]), torch.empty(0, 2)],
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
    }
    save_checkpoint(tmp_path / "a.safetensors", state)
    found = load_checkpoint(tmp_path / "a.safetensors")
    assert found is not None and found.path == tmp_path / "a.safetensors"
    torch.testing.assert_close(found.state.pop("tensors"), state.pop("tensors"), rtol=0, atol=0)
    assert torch.equal(found.state.pop("half"), state.pop("half"))
    assert found.state == state and list(found.state["numbers"]) == list(state["numbers"])


def test_training_goes_on_in_the_same_bytes(tmp_path: Path) -> None:
    model, optimiser = trained(steps=3)
    save_checkpoint(tmp_path / "a.safetensors", states_of({"model": model, "optimiser": optimiser}))
    step(model, optimiser, 3)
    other, its_optimiser = trained(steps=1)
    checkpoint = load_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint is not None
    restore({"model": other, "optimiser": its_optimiser}, checkpoint)
    step(other, its_optimiser, 3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_all_generators_go_on_where_they_were() -> None:
    def drawn() -> list[float]:
        numpy_s = float(np.random.random())  # noqa: NPY002
        return [float(torch.rand(())), random.random(), random.gauss(0, 1), numpy_s]

    random.gauss(0, 1)  # Python keeps the second of a pair of normal numbers
    states = random_states()
    first = drawn()
    restore_random_states(states)
    assert drawn() == first


@pytest.mark.parametrize("damage", ["a flipped bit", "cut short", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    path, said = tmp_path / "a.safetensors", list[str]()
    for epoch in (1, 2):
        save_checkpoint(path, {"epoch": epoch, "weights": torch.ones(64)})
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        data[-5] ^= 1
        path.write_bytes(data if damage == "a flipped bit" else data[:-9])
    found = load_checkpoint(path, said.append)
    assert found is not None and found.state["epoch"] == 1 and found.path == previous_path(path)
    assert len(said) == 1 and "going on from the one before it" in said[0] and str(path) in said[0]
    previous_path(path).write_bytes(b"")
    if damage == "gone":
        path = previous_path(path)
    with pytest.raises(PhotostyleError, match="damaged"):
        load_checkpoint(path)


def test_there_may_be_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "a.safetensors") is None


def test_a_kill_between_two_files_leaves_one_that_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"epoch": 1})
    monkeypatch.setattr(
        "photostyle.files.atomic.os.fsync", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt())
    )
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"epoch": 2})
    found = load_checkpoint(path)
    assert found is not None and found.state == {"epoch": 1}


def test_a_checkpoint_of_another_training_is_refused_in_one_line(tmp_path: Path) -> None:
    model, optimiser = trained(steps=1)
    save_checkpoint(
        tmp_path / "a.safetensors", states_of({"model": nn.Linear(2, 2)}) | {"settings": {"seed": 0}}
    )
    checkpoint = load_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint is not None
    for parts in ({"model": model}, {"optimiser": optimiser}):
        with pytest.raises(PhotostyleError, match="another training") as caught:
            restore(parts, checkpoint)
        assert "\n" not in str(caught.value)
    refuse_other(checkpoint, {"seed": 0})
    with pytest.raises(PhotostyleError, match="made with seed = 0, not 1"):
        refuse_other(checkpoint, {"seed": 1})


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(PhotostyleError, match="no checkpoint of this version"):
        load_checkpoint(path)
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")  # a pickle that would run a program
    with pytest.raises(PhotostyleError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [{1, 2}, np.zeros(2), {(1, 2): 3}])
def test_what_cannot_be_kept_is_an_error_at_once(tmp_path: Path, value: object) -> None:
    with pytest.raises(TypeError, match="a checkpoint"):
        save_checkpoint(tmp_path / "a.safetensors", {"value": value})
    assert not list(tmp_path.iterdir())


def test_a_state_is_json_beside_the_tensors(tmp_path: Path) -> None:
    """Anybody can read it: its metadata is text."""
    from safetensors import safe_open

    save_checkpoint(tmp_path / "a.safetensors", {"epoch": 2})
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["state"]) == {"mapping": [["epoch", 2]]}
