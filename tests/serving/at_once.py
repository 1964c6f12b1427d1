"""Run by tests: a process a candidate, all of which promote at once.

    python at_once.py TRACKING_URI FOLDER...

Each folder holds the outputs vqvae/, transformer/ and report/ of a candidate; promotion.json is written beside them.
Ends with 1 where one of the processes failed. They are forked before torch or MLflow has done anything, so that they
start within milliseconds of each other, which twenty imports on a small machine would not.
"""

import os
import sys
import traceback
from pathlib import Path

import torch

from components.promote.step import Config, run
from moso.adapters.mlflow_client import require_mlflow
from moso.step import Context

require_mlflow()
import mlflow.pyfunc  # noqa: E402
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402, F401

uri, folders = sys.argv[1], [Path(name) for name in sys.argv[2:]]
torch.set_num_threads(1)
ready, go = os.pipe()


def promote(folder: Path) -> None:
    os.close(go)
    os.read(ready, 1)  # ends for all of them when the parent closes its end
    inputs = {name: folder / name for name in ("vqvae", "transformer", "report")}
    context = Context(work=folder / "work", options={"tracking_uri": uri})
    run(Config(), inputs, {"promotion": folder / "promotion.json"}, context)


children = []
for folder in folders:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            promote(folder)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    children.append(child)
os.close(go)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
