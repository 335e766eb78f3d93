"""A result before the eyes: what is in the figure, and what is said where there is no window."""

from types import SimpleNamespace

import pytest
import torch
from matplotlib import pyplot
from matplotlib.backends import BackendFilter, backend_registry

from photostyle.errors import PhotostyleError
from photostyle.evaluation.show import FILE_BACKENDS, SIDE, show, side_by_side


@pytest.fixture
def result() -> SimpleNamespace:
    """As much of a `Result` as is shown, with two references."""
    pictures = [SimpleNamespace(pixels=torch.rand(3, 20, 30)) for _ in range(3)]
    return SimpleNamespace(photo=pictures[0], references=tuple(pictures[1:]), image=torch.rand(3, 20, 1000))


def test_photo_references_and_result_stand_in_a_row(result: SimpleNamespace) -> None:
    figure = side_by_side(result)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["photo", "reference", "reference", "result"]
    assert figure.axes[-1].images[0].get_array().shape == (SIDE * 20 // 1000, SIDE, 3)
    pyplot.close(figure)


def test_a_window_is_opened_where_there_can_be_one(
    result: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    monkeypatch.setattr(pyplot, "get_backend", lambda: "TkAgg")
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.get_fignums()))
    show(result)
    assert len(shown) == 1 and len(shown[0]) == 1
    pyplot.close("all")


def test_without_a_window_it_says_what_to_do(
    result: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyplot, "get_backend", lambda: "agg")
    with pytest.raises(PhotostyleError, match=r"no window .* \(matplotlib's backend is agg\); open the file"):
        show(result)


def test_the_backends_that_only_write_are_matplotlibs() -> None:
    assert set(FILE_BACKENDS) == {
        name.lower() for name in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE)
    }
