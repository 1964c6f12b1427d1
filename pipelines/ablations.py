"""The ablations (Tables 6, 9, 10, 11): variants as settings over one preset, run by the pipeline's own steps.

    python -m pipelines.ablations run                                    (make ablations)
    python -m pipelines.ablations train_vqvae no_merge_module --in frames=… --out vqvae=…
    python -m pipelines.ablations table --in runs=ablations/runs --out tables=ablations

ablations/variants.yaml names the variants, ablations/dvc.yaml runs a step for each; this module lays a variant's
settings over the preset and hands them to the step. pipelines/ablation_tables.py makes the tables.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from components.config import SPECS, STEPS, resolve_all
from components.main import STOPPED, NamedPaths, Run, execute, named_path
from moso.config import build, load_yaml, merge
from moso.errors import ConfigError, DataError, MosoError, StopRequested

ROOT = Path(__file__).parent.parent
FOLDER = Path("ablations")
VARIANTS = FOLDER / "variants.yaml"
STAGE_1 = ("train_vqvae", "reconstruct")
STAGE_2 = ("extract_tokens", "train_transformer", "evaluate")
WHOLE = "moso"
"""The variant that is the full model: the others are compared with it."""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        label: as the table names it.
        of: the variant; none: the paper has a row that we cannot have.
        paper: metric -> figure, as printed (PSNR in dB, SSIM in percent).
        paper_parameters: VQVAE and transformer, as printed.
        paper_tokens: of a clip (Table 7).
    """

    label: str
    of: str | None = None
    paper: dict[str, Any] = field(default_factory=dict)
    paper_parameters: str | None = None
    paper_tokens: int | None = None


@dataclass(frozen=True)
class Table:
    """One of the paper's tables: its number and title, what of ours stands in it, and what the paper measured on."""

    number: str
    title: str
    measured: Literal["prediction", "reconstruction"]
    paper: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Ablations:
    """The content of variants.yaml.

    Attributes:
        dataset, preset, seed: as in params.yaml.
        common: section -> settings of every variant, over the preset's: the budget among them.
        stage_1: variant -> section -> settings over `common`.
        stage_2: variant -> its `vqvae`, the variant of Stage I that it builds on, and settings over that one's.
        tables: in the file by number.
        minutes: step -> variant -> minutes on two quiet cores, about; others take what `moso` does.
    """

    dataset: str
    preset: str
    seed: int
    common: dict[str, Any]
    stage_1: dict[str, Any]
    stage_2: dict[str, Any]
    tables: tuple[Table, ...]
    minutes: dict[str, Any] = field(default_factory=dict)

    def params(self, variant: str, *, second: bool) -> dict[str, Any]:
        """What params.yaml would hold to train this variant's Stage I, or its Stage II (`second`).

        Raises:
            ConfigError: no such variant.
        """
        known = self.stage_2 if second else self.stage_1
        if variant not in known:
            raise ConfigError("variant", variant, "is not in variants.yaml", f"known: {', '.join(known)}")
        own = dict(known[variant])
        first = self.stage_1[own.pop("vqvae")] if second else {}
        top = {"dataset": self.dataset, "preset": self.preset, "seed": self.seed}
        return {**top, **merge(merge(self.common, first), own)}

    def configs(self, variant: str, *, second: bool, specs: Path = SPECS) -> dict[str, Any]:
        """Every step's config of this variant, checked against each other.

        Raises:
            ConfigError: a setting that is wrong by itself or does not fit another section's.
        """
        return resolve_all(self.params(variant, second=second), specs)

    def cost(self) -> float:
        """Minutes of everything on two quiet cores, about; 0 where the file says nothing of minutes."""
        if not self.minutes:
            return 0.0
        return sum(
            self.minutes[step].get(variant, self.minutes[step][WHOLE])
            for steps, variants in ((STAGE_1, self.stage_1), (STAGE_2, self.stage_2))
            for step in steps
            for variant in variants
        )


def load(path: Path) -> Ablations:
    """The ablations that a file describes.

    Raises:
        ConfigError: an unknown key, a section that is no step's, or a name that no variant has.
    """
    values = load_yaml(path)
    tables = [{"number": number, **table} for number, table in (values.get("tables") or {}).items()]
    ablations = build(Ablations, {**values, "tables": tables})
    for at, settings in [("common", ablations.common), *ablations.stage_1.items(), *ablations.stage_2.items()]:
        for section in settings:
            if section not in STEPS and not (at in ablations.stage_2 and section == "vqvae"):
                raise ConfigError(f"{at}.{section}", settings[section], "is no section", f"known: {', '.join(STEPS)}")
    for name, settings in ablations.stage_2.items():
        if settings.get("vqvae") not in ablations.stage_1:
            known = ", ".join(ablations.stage_1)
            raise ConfigError(f"stage_2.{name}.vqvae", settings.get("vqvae"), "is no variant of stage_1", known)
    for table in ablations.tables:
        known_rows = ablations.stage_2 if table.measured == "prediction" else ablations.stage_1
        for row in table.rows:
            if row.of is not None and row.of not in known_rows:
                raise ConfigError("of", row.of, f"table {table.title!r} has no such variant", ", ".join(known_rows))
    return ablations


def step_of(ablations: Ablations, step: str, variant: str, specs: Path = SPECS) -> tuple[Run, Any]:
    """The function of a step and its config for a variant.

    Raises:
        ConfigError: no such variant, or one that cannot be.
    """
    configs = ablations.configs(variant, second=step in STAGE_2, specs=specs)
    alone = step == "reconstruct"
    module = importlib.import_module("pipelines.reconstruction" if alone else f"components.{step}.step")
    return module.run, configs["evaluate" if alone else step]


def run_all(root: Path = ROOT) -> int:
    """`dvc repro` of all variants; returns its exit status.

    Raises:
        DataError: there are no frames yet.
        ConfigError: a variant that cannot be.
    """
    ablations = load(root / VARIANTS)
    frames = Path("data") / ablations.dataset / "frames"
    if not (root / frames / "provenance.json").exists():
        raise DataError(f"{frames} is not there: run `make repro` first, whose frames the ablations are trained on")
    for variants, second in ((ablations.stage_1, False), (ablations.stage_2, True)):
        for variant in variants:
            ablations.configs(variant, second=second, specs=root / SPECS)
    print(
        f"ablations: {len(ablations.stage_1)} trainings of Stage I, {len(ablations.stage_2)} of Stage II: about "
        f"{ablations.cost():.0f} minutes on 2 quiet cores, less what is finished. Ctrl-C stops; run it again to go on."
    )
    command = [sys.executable, "-m", "dvc", "repro", str(FOLDER / "dvc.yaml")]
    status = subprocess.run(command, cwd=root, check=False).returncode
    if status:
        print("The ablations did not end. `make ablations` goes on where they stopped, trainings from a checkpoint.")
    else:
        print(f"\n  tables {(root / FOLDER / 'index.html').as_uri()}\n  rows   {root / FOLDER / 'table.csv'}")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.ablations", description="The ablations, step by step.")
    parser.add_argument("step", choices=[*STAGE_1, *STAGE_2, "table", "run"])
    parser.add_argument("variant", nargs="?", help="of variants.yaml; none for table and run")
    parser.add_argument("--in", dest="inputs", action="append", default=[], type=named_path, metavar="NAME=PATH")
    parser.add_argument("--out", dest="outputs", action="append", default=[], type=named_path, metavar="NAME=PATH")
    parser.add_argument("--variants", type=Path, default=VARIANTS, help=f"default: {VARIANTS}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit status as components/main.py's."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    try:
        if parsed.step == "run":
            return run_all()
        if parsed.step == "table":
            from pipelines.ablation_tables import write_tables

            runs, tables = NamedPaths("table", "--in", dict(parsed.inputs)), dict(parsed.outputs)
            write_tables(load(parsed.variants), runs["runs"], NamedPaths("table", "--out", tables)["tables"])
            return 0
        if parsed.variant is None:
            parser.error(f"{parsed.step} needs a variant")
        step, inputs, outputs = parsed.step, dict(parsed.inputs), dict(parsed.outputs)
        run, config = step_of(load(parsed.variants), step, parsed.variant)
        execute(step, run, config, NamedPaths(step, "--in", inputs), NamedPaths(step, "--out", outputs))
    except StopRequested as stop:
        print(f"{parsed.step}: stopped; run it again to go on ({stop})", file=sys.stderr)
        return STOPPED
    except MosoError as error:
        print(f"{parsed.step}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
