"""Doubles of the parts of ROS 2 (rclpy, sensor_msgs) that a node with a subscription uses."""

import sys
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.callbacks: dict[str, Callable[[Any], None]] = {}
        self.published: list[Any] = []

    def create_publisher(self, kind: type, topic: str, depth: int) -> SimpleNamespace:
        assert (kind, topic) == (SimpleNamespace, "flow")
        return SimpleNamespace(publish=self.published.append)

    def create_subscription(
        self, kind: type, topic: str, callback: Callable[[Any], None], quality: object
    ) -> None:
        self.callbacks[topic] = callback


def install(monkeypatch: pytest.MonkeyPatch, messages: Sequence[Any]) -> list[Any]:
    """Put the doubles in place of ROS 2; return where published messages are appended.

    ``rclpy.spin`` sends the messages to ``image_raw`` and returns.
    """
    published: list[Any] = []

    def spin(node: Node) -> None:
        for message in messages:
            node.callbacks["image_raw"](message)
        published.extend(node.published)

    content: dict[str, dict[str, object]] = {
        "rclpy": {"init": lambda: None, "spin": spin},
        "rclpy.node": {"Node": Node},
        "rclpy.qos": {"qos_profile_sensor_data": object()},
        "sensor_msgs": {},
        "sensor_msgs.msg": {"Image": SimpleNamespace},
    }
    for name, attributes in content.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    return published
