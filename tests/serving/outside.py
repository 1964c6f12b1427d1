"""Run by test_promote.py in a process of its own, away from the repository: load a registered model and ask it.

    python -I outside.py TRACKING_URI REFERENCE REPOSITORY

requests.json lies beside it: name -> [frames, params], the frames being the name of a .npy file. Each answer is written
as <name>.npy, one that is a dictionary as <name>.<part>.npy. Prints JSON: where moso came from, and every distribution
that moso's own code imported.
"""

import builtins
import importlib.util
import json
import os
import sys
from pathlib import Path

uri, reference, repository = sys.argv[1:]
environment = Path(sys.prefix).resolve()


def of_the_repository(entry: str) -> bool:
    path = Path(entry or os.getcwd()).resolve()
    return path.is_relative_to(repository) and not path.is_relative_to(environment)


# An editable install of the repository would hide a model that does not bring its code.
sys.meta_path = [
    f for f in sys.meta_path if not getattr(f, "__module__", type(f).__module__).startswith("__editable__")
]
sys.path = [entry for entry in sys.path if not of_the_repository(entry)]
assert importlib.util.find_spec("moso") is None, "moso is still to be had here: this test would prove nothing"

imported: set[str] = set()
original = builtins.__import__


def recording(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and (globals or {}).get("__name__", "").split(".")[0] == "moso":
        imported.add(name.split(".")[0])
    return original(name, globals, locals, fromlist, level)


builtins.__import__ = recording

import mlflow  # noqa: E402
import numpy as np  # noqa: E402

mlflow.set_tracking_uri(uri)
model = mlflow.pyfunc.load_model(reference)
for name, (frames, params) in json.loads(Path("requests.json").read_text()).items():
    answer = model.predict(np.load(f"{frames}.npy"), params=params)
    for part, value in answer.items() if isinstance(answer, dict) else [(None, answer)]:
        np.save(name if part is None else f"{name}.{part}", value)
moso = Path(sys.modules["moso"].__file__).parent
print(json.dumps({"moso": str(moso), "imported": sorted(imported - set(sys.stdlib_module_names) - {"moso"})}))
