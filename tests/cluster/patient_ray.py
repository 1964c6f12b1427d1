"""`ray`, where the machine is busy: a node may take minutes to start, of which Ray itself grants it 30 s, unchangeably
(raylet_start_wait_time_s in ray/_private/node.py of Ray 2.60; to be removed once that is a setting)."""

import sys
import time
from typing import Any

import ray._private.services as services
from ray.scripts.scripts import main

PATIENCE_S = 300
_get_node = services.get_node


def get_node(*arguments: Any, **named: Any) -> Any:
    """Ray's function, tried again until the node is there."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return _get_node(*arguments, **named)
        except RuntimeError:
            if time.monotonic() > end:
                raise
            time.sleep(1)


services.get_node = get_node
sys.argv[0] = "ray"
main()
