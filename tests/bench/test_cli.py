import pytest

from bench.cli import exit_code

CPU = {"status": "ok", "device": "cpu"}
GPU = {"status": "ok", "device": "cuda:0"}
SKIPPED = {"status": "skipped", "device": None}
FAILED = {"status": "failed", "device": None}


@pytest.mark.parametrize(
    ("rows", "require_gpu", "code"),
    [
        ([CPU, SKIPPED], False, 0),
        ([CPU, FAILED], False, 1),
        ([CPU, GPU, SKIPPED], True, 0),
        ([CPU, SKIPPED], True, 1),
        ([GPU, FAILED], True, 1),
    ],
)
def test_exit_code(rows, require_gpu, code):
    assert exit_code(rows, require_gpu=require_gpu) == code


def test_a_missing_gpu_row_is_reported(capsys):
    exit_code([CPU], require_gpu=True)
    assert capsys.readouterr().err == (
        "error: no row was measured on a GPU; see the reasons above\n"
    )
