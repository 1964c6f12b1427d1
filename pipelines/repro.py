"""`make repro`: `dvc repro`, and afterwards where to look.

What it prints is read from the files that the stages wrote, with absolute addresses, so that it can be clicked or
copied whatever folder the reader is in.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.config import STEPS, check_whole_pipeline, load_params, resolve_all
from moso.errors import MosoError
from moso.progress import clock

ROOT = Path(__file__).parent.parent


def stages_run(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The stages whose entry in dvc.lock differs, in the pipeline's order."""
    return [step for step in STEPS if before.get(step) != after.get(step)]


def locked(root: Path) -> dict[str, Any]:
    """Stage -> entry of dvc.lock; empty where there is none yet."""
    path = root / "dvc.lock"
    return (yaml.safe_load(path.read_text()) or {}).get("stages", {}) if path.exists() else {}


def where_to_look(root: Path, dataset: str) -> str:
    """The closing lines: the benchmark's table, report, registered model, and the Python that loads it."""
    reports = root / "reports"
    lines = [(reports / "table.md").read_text().rstrip(), ""]
    metrics = json.loads((reports / "metrics.json").read_text())
    if ceiling := metrics.get("reconstruction"):
        figures = ", ".join(f"{name} {value:.4g}" for name, value in ceiling.items())
        lines.append(f"The ceiling, the true frames through Stage I: {figures}")
    promotion = json.loads((root / "reports" / "promotion.json").read_text())
    # Whole paths: nobody has to have activated the environment.
    programs = Path(sys.executable).parent
    lines += [
        "",
        f"  report    {(root / 'reports' / 'index.html').as_uri()}",
        f"  metrics   {root / 'reports' / 'metrics.json'}   ({programs / 'dvc'} --cd {root} metrics show)",
        f"  model     {root / 'models' / dataset}",
        f"  promotion {root / 'reports' / 'promotion.json'}",
        f"  records   {programs / 'mlflow'} ui --backend-store-uri {tracking_uri(root)}",
        "",
        *_outcome(promotion),
        "",
        "Load it, from any folder:",
        "",
        "    import mlflow, numpy as np",
        f'    mlflow.set_tracking_uri("{tracking_uri(root)}")',
        f'    model = mlflow.pyfunc.load_model("{_reference(promotion)}")',
        f'    frames = np.load("{root / "reports" / "example.npy"}")   # uint8 (N, K, H, W, 3)',
        '    future = model.predict(frames, params={"seed": 0})   # uint8 (N, T-K, H, W, 3)',
        "",
        f"with {sys.executable}",
    ]
    return "\n".join(lines)


def _is_champion(promotion: Mapping[str, Any]) -> bool:
    return promotion["decision"]["outcome"] in ("promoted", "already_champion")


def _reference(promotion: Mapping[str, Any]) -> str:
    """Address of this run's model: by the alias where it has it, else by its version."""
    named: str = promotion["reference"]
    return named if _is_champion(promotion) else f"models:/{promotion['model']}/{promotion['version']}"


def _outcome(promotion: Mapping[str, Any]) -> list[str]:
    """What became of this run's model in the registry, and why where it is not the champion."""
    this = f"models:/{promotion['model']}/{promotion['version']}"
    if _is_champion(promotion):
        return [f"This run's model is the {promotion['alias']}: {this}"]
    held = promotion["champion"]
    other = f"that is version {held['version']}" if held else "there is none"
    outcome, reasons = promotion["decision"]["outcome"], promotion["decision"]["reasons"]
    return [
        f"This run's model, {this}, is not the {promotion['alias']} ({other}). {outcome}:",
        *(f"  - {reason}" for reason in reasons),
    ]


def tracking_uri(root: Path) -> str:
    """Address of MLflow's records as the steps write them when they are run in `root`."""
    from moso.adapters.mlflow_client import default_tracking_uri

    return default_tracking_uri(root)


def main() -> None:
    """Run the pipeline; exit status is DVC's."""
    started = time.monotonic()
    try:
        params = load_params(ROOT / "params.yaml")
        check_whole_pipeline(resolve_all(params, ROOT / "data" / "specs"))
    except MosoError as error:
        sys.exit(f"params.yaml: {error}")
    before = locked(ROOT)
    status = subprocess.run([sys.executable, "-m", "dvc", "repro", *sys.argv[1:]], cwd=ROOT, check=False).returncode
    if status:
        print("The pipeline did not end. `make repro` goes on where it stopped, trainings from their last checkpoint.")
        sys.exit(status)
    changed = stages_run(before, locked(ROOT))
    took = clock(time.monotonic() - started)
    if changed:
        print(f"\nDone in {took}: {', '.join(changed)}.\n")
    else:
        print(f"\nNothing changed since the last run: nothing to do ({took}).\n")
    print(where_to_look(ROOT, params["dataset"]))


if __name__ == "__main__":
    main()
