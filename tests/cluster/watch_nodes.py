"""Prints, a line each time it changes, how many nodes of a Ray cluster are alive: `python watch_nodes.py ADDRESS`."""

import sys
import time

from ray._raylet import GcsClient
from ray.core.generated.gcs_pb2 import GcsNodeInfo


def main(address: str) -> None:
    said, client = None, None
    while True:
        try:
            client = client or GcsClient(address=address)
            alive = sum(node.state == GcsNodeInfo.ALIVE for node in client.get_all_node_info(timeout=5).values())
        except Exception as error:  # the head is not there yet: whatever it is, it is said, and asked again
            print(f"# {error!r}", flush=True)
            alive = 0
        if alive != said:
            print(alive, flush=True)
            said = alive
        time.sleep(0.3)


main(sys.argv[1])
