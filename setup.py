"""What pyproject.toml cannot say: the wheel ships moso alone, an editable install knows components and pipelines too.

`components` and `pipelines` are names that collide with other projects' once they lie in site-packages; beside a clone
they do not. So every build but an editable one drops them, and the command that pipelines adds to `moso` with them.
"""

import sys

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

EDITABLE = any(command in sys.argv for command in ("editable_wheel", "develop"))


def shipped(name: str) -> bool:
    return EDITABLE or name.split(".")[0] == "moso"


class BuildPy(build_py):
    def finalize_options(self) -> None:
        self.distribution.packages = [name for name in self.distribution.packages or [] if shipped(name)]
        super().finalize_options()


class EggInfo(egg_info):
    def finalize_options(self) -> None:
        groups = self.distribution.entry_points
        for group in [group for group in groups if group.startswith("moso.")]:
            groups[group] = [entry for entry in groups[group] if shipped(entry.split("=")[1].strip())]
        super().finalize_options()


setup(cmdclass={"build_py": BuildPy, "egg_info": EggInfo})
