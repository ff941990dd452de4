"""A signal after engines were closed, which ended the process by SIGSEGV with a core for each."""

import subprocess
import sys

import pytest

SCRIPT = """
import gc, os, signal, sys, threading
import numpy as np
import engine

def open_one():
    opened = engine.load(sys.argv[1], backend="openvino")
    opened.infer(np.zeros((2, 64, 64, 3), np.uint8)[0], np.zeros((64, 64, 3), np.uint8))
    return opened

engines = [open_one(), open_one()]

def close(index):
    engines[index].close()
    engines[index] = None
    gc.collect()

for index in map(int, sys.argv[2]):
    if sys.argv[3] == "another thread":
        thread = threading.Thread(target=close, args=[index])
        thread.start()
        thread.join()
    else:
        close(index)
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR1")
@pytest.mark.parametrize(("order", "thread"), [("01", "the same thread"), ("10", "another thread")])
def test_signal_after_closing(tiny_bundle, order, thread):
    command = [sys.executable, "-c", SCRIPT, str(tiny_bundle), order, thread]
    child = subprocess.run(command, check=True, capture_output=True, text=True)
    assert child.stdout == "handled\n"
