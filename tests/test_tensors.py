"""A .safetensors file is whole or not there, and the same in every process."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from photostyle.errors import ComputationError
from photostyle.files.tensors import write_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([True])}
METADATA = {f"{number}": f'"é\n\\/\t{number}' for number in range(8)}


def test_equal_contents_are_equal_bytes_that_safetensors_reads(tmp_path: Path) -> None:
    # The random order of eight keys is the same ten times once in 8!**9 runs.
    digests = set()
    for _ in range(10):
        write_tensors(tmp_path / "a.safetensors", TENSORS, METADATA)
        digests.add(hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest())
    assert len(digests) == 1
    assert load_file(tmp_path / "a.safetensors")["a"].equal(TENSORS["a"])
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == METADATA


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ComputationError, match=r"a\.safetensors cannot be written"):
        write_tensors(tmp_path / "none" / "a.safetensors", TENSORS, METADATA)
