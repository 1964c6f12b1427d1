"""Settings of the embedded data set's simulator; the defaults are the data set `sim_push`.

Lengths are in metres, angles in degrees, colours and brightness in [0, 1]. World axes: x to the camera's right, y away
from the camera, z up; the origin is the middle of the bin's floor. The bin, the table and the arm stay the same in
every episode, as in BAIR; what a field's docstring calls "drawn" varies with the episode's seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from moso.config import check_choices
from moso.errors import ConfigError

Shape = Literal["box", "cylinder", "ellipsoid"]
Range = tuple[float, float]
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class CameraConfig:
    """A pinhole camera that looks at a point.

    Attributes:
        position: where it stands.
        target: the point in the picture's middle.
        field_of_view: vertical angle of the picture, degrees.
        pan: metres by which the target moves along x from the first to the last frame, half of it before `target` and
            half behind it, towards a drawn side; 0 leaves the camera still, as sim_push does.
    """

    position: Vector = (0.0, -0.55, 0.60)
    target: Vector = (0.0, 0.0, 0.0)
    field_of_view: float = 47.0
    pan: float = 0.0

    def __post_init__(self) -> None:
        _between("field_of_view", self.field_of_view, 5.0, 120.0)
        if self.position[:2] == self.target[:2]:
            raise ConfigError(
                "position", self.position, "stands straight above the target", "move it aside by a centimetre"
            )
        if self.position[2] <= 0:
            raise ConfigError("position", self.position, "lies below the table", "give it a height above 0")
        if self.pan < 0:
            raise ConfigError("pan", self.pan, "must not be negative", "the side is drawn by the seed")


@dataclass(frozen=True)
class LightConfig:
    """One point light, which casts the shadows.

    Attributes:
        position: where it stands.
        ambient: share of the light that reaches every surface, shadow or not.
        spread: the light's x and y are drawn within this distance of `position` in each episode; 0 leaves it still.
        warmth: what the light's red gains and its blue loses, in [-0.5, 0.5]; 0 is white.
    """

    position: Vector = (0.35, -0.35, 1.30)
    ambient: float = 0.42
    spread: float = 0.0
    warmth: float = 0.0

    def __post_init__(self) -> None:
        _between("ambient", self.ambient, 0.0, 1.0)
        _between("spread", self.spread, 0.0, 1.0)
        _between("warmth", self.warmth, -0.5, 0.5)
        if self.position[2] < 0.5:
            raise ConfigError(
                "position", self.position, "the light must hang above the arm", "give it a height of 0.5 or more"
            )


@dataclass(frozen=True)
class ObjectsConfig:
    """The objects in the bin; number, shape, size, colour and place are drawn.

    Attributes:
        count: fewest and most objects.
        shapes: the shapes to draw from.
        half_size: range of half the extents.
        spacing: least distance between two middles at the start.
        density: kg/m3.
        hue: range of the colours' hue, turns of the colour circle.
        saturation: range of the colours' saturation.
        brightness: range of the colours' value.
    """

    count: tuple[int, int] = (3, 5)
    shapes: tuple[Shape, ...] = ("box", "cylinder", "ellipsoid")
    half_size: Range = (0.040, 0.065)
    spacing: float = 0.145
    density: float = 300.0
    hue: Range = (0.0, 1.0)
    saturation: Range = (0.55, 0.95)
    brightness: Range = (0.55, 0.98)

    def __post_init__(self) -> None:
        check_choices(self)
        _ordered("count", self.count, 1, 8)
        _ordered("half_size", self.half_size, 0.01, 0.09)
        _ordered("hue", self.hue, 0.0, 1.0)
        _ordered("saturation", self.saturation, 0.0, 1.0)
        _ordered("brightness", self.brightness, 0.0, 1.0)
        _between("spacing", self.spacing, 0.0, 0.2)
        _between("density", self.density, 10.0, 10_000.0)
        if not self.shapes:
            raise ConfigError("shapes", self.shapes, "names no shape", "name box, cylinder or ellipsoid")


@dataclass(frozen=True)
class StrokesConfig:
    """The arm's straight strokes, each aimed at an object and of constant speed.

    Attributes:
        frames: range of a stroke's length in frames; the issue asks for 10 to 18. The shortest are left out: where a
            stroke ends, two given frames no longer tell where the arm goes.
        step: range of the way that the gripper goes from one frame to the next.
        aim_spread: the line passes the object's middle by up to this distance, drawn.
    """

    frames: tuple[int, int] = (12, 18)
    step: Range = (0.024, 0.036)
    aim_spread: float = 0.015

    def __post_init__(self) -> None:
        _ordered("frames", self.frames, 2, 1000)
        _ordered("step", self.step, 0.001, 0.08)
        _between("aim_spread", self.aim_spread, 0.0, 0.1)


@dataclass(frozen=True)
class SimulationConfig:
    """Everything that an episode depends on besides its seed.

    Attributes:
        frames: frames of an episode.
        height, width: pixels.
        supersampling: rays along each side of a pixel.
        fps: frames a second of simulated time; 20 physics steps fill each frame whatever it is.
    """

    frames: int = 30
    height: int = 64
    width: int = 64
    supersampling: int = 2
    fps: float = 10.0
    camera: CameraConfig = field(default_factory=CameraConfig)
    light: LightConfig = field(default_factory=LightConfig)
    objects: ObjectsConfig = field(default_factory=ObjectsConfig)
    strokes: StrokesConfig = field(default_factory=StrokesConfig)

    def __post_init__(self) -> None:
        _between("frames", self.frames, 2, 10_000)
        _between("height", self.height, 8, 1024)
        _between("width", self.width, 8, 1024)
        _between("supersampling", self.supersampling, 1, 4)
        _between("fps", self.fps, 5.0, 60.0)


def _between(name: str, value: Any, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(name, value, f"must lie in [{low:g}, {high:g}]")


def _ordered(name: str, value: tuple[Any, Any], low: float, high: float) -> None:
    if not low <= value[0] <= value[1] <= high:
        raise ConfigError(name, value, f"must be a range, lower end first, in [{low:g}, {high:g}]")
