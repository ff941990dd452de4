"""The page of ``--show``, as a browser reads it."""

import threading
from http.client import HTTPConnection
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from engine.video.live_page import live_page


def connection(page):
    return HTTPConnection(urlsplit(page.address).netloc, timeout=60)


def test_every_image_arrives():
    colors = [(200, 30, 30), (20, 180, 40)]
    with live_page() as page:
        path = urlsplit(page.address).path
        client = connection(page)
        client.request("GET", path)
        document = client.getresponse().read().decode()
        assert 'src="images"' in document
        client = connection(page)
        client.request("GET", f"{path}images")
        response = client.getresponse()
        assert response.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=image"
        for color in colors:
            while not page.viewers:
                threading.Event().wait(0.001)
            page.show(np.full((48, 64, 3), color, np.uint8))
            assert response.readline() == b"--image\r\n"
            assert response.readline() == b"Content-Type: image/jpeg\r\n"
            length = int(response.readline().split(b":")[1])
            response.readline()
            image = cv2.imdecode(np.frombuffer(response.read(length), np.uint8), cv2.IMREAD_COLOR)
            np.testing.assert_allclose(image[24, 32, ::-1], color, atol=3)
            response.readline()
    assert response.readline() == b"--image\r\n"


def test_others_cannot_guess_the_address():
    with live_page() as page:
        client = connection(page)
        client.request("GET", "/")
        assert client.getresponse().status == 404
        assert page.address.startswith("http://127.0.0.1:")
        assert len(urlsplit(page.address).path) > 10


def test_nothing_is_left(new_threads):
    with pytest.raises(KeyboardInterrupt), live_page():
        raise KeyboardInterrupt
    assert new_threads() == []
