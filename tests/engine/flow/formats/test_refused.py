"""Flows, masks and names that are not written or read."""

import os
from pathlib import Path

import numpy as np
import pytest

from engine.errors import FlowFileError, InputError
from engine.flow.formats import read_flow, write_flow
from tests.engine.flow.formats.samples import sample


def test_an_unknown_suffix_names_the_formats_and_the_nearest(tmp_path):
    with pytest.raises(FlowFileError, match=r"unknown flow format '\.flow'.*\.pfm.*mean '\.flo'"):
        read_flow(tmp_path / "a.flow")
    with pytest.raises(FlowFileError, match=r"a has no suffix, which tells the format; expected"):
        write_flow(tmp_path / "a", sample())


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.flo"):
        read_flow(tmp_path / "a.flo")


@pytest.mark.parametrize(
    "flow",
    [
        np.zeros((2, 4, 5), np.float32),
        np.zeros((1, 4, 5, 2), np.float32),
        np.zeros((4, 5), np.float32),
        np.zeros((0, 5, 2), np.float32),
        np.zeros((4, 5, 2), np.int32),
        np.zeros((4, 5, 2), np.complex64),
    ],
)
def test_only_one_float_flow_with_the_channels_last_is_written(tmp_path, flow):
    with pytest.raises(InputError, match=r"expected floats \(H, W, 2\)"):
        write_flow(tmp_path / "a.flo", flow)
    assert not list(tmp_path.iterdir())


def test_what_numpy_masks_is_not_written_as_known(tmp_path):
    flow = np.ma.masked_array(sample(), mask=np.zeros((3, 4, 2), bool))
    write_flow(tmp_path / "a.flo", flow)
    flow[1, 1] = np.ma.masked
    with pytest.raises(InputError, match=r"flow has masked values, .*: flow\.filled\(numpy\.nan"):
        write_flow(tmp_path / "a.flo", flow)
    write_flow(tmp_path / "a.flo", flow.filled(np.nan))
    assert np.argwhere(~read_flow(tmp_path / "a.flo")[1]).tolist() == [[1, 1]]


def test_a_mask_may_be_a_list(tmp_path):
    write_flow(tmp_path / "a.flo", sample()[:1, :2], [[True, False]])
    assert read_flow(tmp_path / "a.flo")[1].tolist() == [[True, False]]


@pytest.mark.parametrize("valid", [np.ones((3, 5), bool), np.ones((3, 4), np.uint8), [1], 1])
def test_a_mask_of_another_shape_or_type_is_refused(tmp_path, valid):
    with pytest.raises(InputError, match=r"valid is .* expected bool \(3, 4\)"):
        write_flow(tmp_path / "a.flo", sample(), valid)


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e9, 1e300])
def test_a_valid_pixel_needs_a_finite_flow(tmp_path, value):
    flow = sample().astype(np.float64)
    flow[1, 1, 0] = value
    with pytest.raises(InputError, match="at 1 valid pixels"):
        write_flow(tmp_path / "a.flo", flow, np.ones((3, 4), bool))


def test_half_precision_infinity_is_unknown(tmp_path):
    flow = sample().astype(np.float16)
    flow[0, 0, 0] = np.inf
    write_flow(tmp_path / "a.flo", flow)
    assert np.count_nonzero(~read_flow(tmp_path / "a.flo")[1]) == 1


@pytest.mark.parametrize("value", [-512.01, 512.0])
def test_kitti_range_is_refused_not_clipped(tmp_path, value):
    flow = sample()
    flow[0, 0, 0] = value
    with pytest.raises(InputError, match=r"a KITTI png stores -512 to 511\.98 px"):
        write_flow(tmp_path / "a.png", flow)


def test_a_failed_rename_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.flo"
    write_flow(path, sample())
    before = path.read_bytes()

    def refuse(source, target):
        assert Path(source).parent == tmp_path
        raise PermissionError("refused")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        write_flow(path, sample(5, 5))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "a.flo")
    for name, text in (
        ("a.flo", "is a pipe"), ("b.flo", "is a folder"), ("c" * 300 + ".flo", "is a name of"),
        ("d\0.flo", "is no name"),
    ):  # fmt: skip
        if name == "b.flo":
            (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=f"{text}.*; expected a flow file"):
            read_flow(tmp_path / name)
    (tmp_path / "zero.flo").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is a device; expected a flow file"):
        read_flow(tmp_path / "zero.flo")
