"""The page for people, at /demo: made with gradio, on the same service, within the same limits.

Choose or drop a clip; see its prediction beside the truth, draw more samples, swap scene and object between two clips,
look at the components. What the page shows is written by moso.video and stands in the page itself; nothing is loaded
from elsewhere.

Legend: G panels, T frames, H W pixels.
"""

from __future__ import annotations

import base64
import html
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from moso.cli.inputs import Source, fit
from moso.cli.outputs import FPS
from moso.errors import MosoError
from moso.serving.champion import Served
from moso.serving.gate import Stop
from moso.serving.headers import PAGE
from moso.serving.reading import Body, brought, upload
from moso.serving.service import Service
from moso.tasks.checks import InputError
from moso.video import write

HEIGHT = 160  # of a panel on the page, in its pixels
Clip = UInt8[np.ndarray, "T H W 3"]
Show = tuple[Sequence[np.ndarray], str, int]
"""Panels, what they are, and how many frames were given."""


def add_demo(app: Any, service: Service, sources: Sequence[Source] = ()) -> Any:
    """The application with the page at /demo.

    Args:
        app: from `create_app`.
        service: that it belongs to.
        sources: clips to choose among.

    Raises:
        MosoError: gradio is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Gradio keeps what is dropped: where only this user can read it, and only as long as this process lives.
    folder = tempfile.TemporaryDirectory(prefix="moso-demo-")
    os.environ["GRADIO_TEMP_DIR"] = folder.name
    try:
        import gradio
    except ModuleNotFoundError:
        raise MosoError("the demo page needs gradio: pip install 'moso[demo]'") from None
    page = _Page(service, {source.text: source for source in sources})
    mounted = gradio.mount_gradio_app(
        app,
        page.blocks(gradio),
        path=PAGE,
        show_error=True,
        ssr_mode=False,
        max_file_size=service.limits.body_bytes,
        enable_monitoring=False,
    )
    mounted.state.demo_folder = folder
    return mounted


class _Page:
    def __init__(self, service: Service, sources: Mapping[str, Source]) -> None:
        self.service, self.sources = service, sources

    def blocks(self, gradio: Any) -> Any:
        """The page: what is chosen on the left, what is seen on the right."""
        names = list(self.sources)
        with gradio.Blocks(title="MOSO", analytics_enabled=False) as page:
            gradio.Markdown("# MOSO\nVideo prediction by motion, scene and object decomposition.")
            about = gradio.HTML(self.about())
            with gradio.Row():
                with gradio.Column(scale=1):
                    clip = gradio.Dropdown(names, value=names[0] if names else None, label="Clip")
                    dropped = gradio.File(label="… or drop one (mp4, gif, npy)", type="filepath", elem_id="drop-clip")
                    other = gradio.Dropdown(
                        names, value=names[-1] if names else None, label="Second clip, for swapping"
                    )
                    other_dropped = gradio.File(label="… or drop one", type="filepath", elem_id="drop-other")
                    samples = gradio.Slider(1, 8, value=2, step=1, label="Samples")
                    seed = gradio.Number(0, precision=0, minimum=0, label="Seed of the first sample")
                with gradio.Column(scale=2):
                    with gradio.Row():
                        predict = gradio.Button("Predict", variant="primary", elem_id="predict")
                        more = gradio.Button("Draw more samples", elem_id="more")
                        swap = gradio.Button("Swap scene and object", elem_id="swap")
                        parts = gradio.Button("Look at the components", elem_id="components")
                    seen = gradio.HTML("<p>Nothing yet.</p>", elem_id="seen")
            chosen, private = [clip, dropped], {"api_visibility": "private"}
            predict.click(self.predict, [*chosen, samples, seed], seen, **private)
            more.click(lambda first, count: first + count, [seed, samples], seed, **private).then(
                self.predict, [*chosen, samples, seed], seen, **private
            )
            swap.click(self.swap, [*chosen, other, other_dropped], seen, **private)
            parts.click(self.components, chosen, seen, **private)
            page.load(self.about, None, about, **private)
        return page

    def about(self) -> str:
        """The model that serves now: it may have changed since the page was loaded before."""
        served = self.service.champion.get()
        version = "" if served.version is None else f", version {served.version}"
        model = served.model
        words = (
            f"{served.reference}{version} (model {model.digest[:12]}): {model.given_frames} of {model.clip_frames} "
            f"frames of {model.height} x {model.width} pixels are given"
        )
        return f'<p id="about">{html.escape(words)}</p>'

    async def predict(self, name: str | None, dropped: str | None, samples: float, seed: float) -> str:
        """Truth, and samples of what follows the given frames."""
        asked = {"samples": int(samples), "seed": int(seed)}

        def work(served: Served, stop: Stop) -> Show:
            clip, given = self.clip(served, name, dropped), served.model.given_frames
            drawn = self.service.perform(served, "predict", clip[None, :given], asked, stop)[0]
            films = [np.concatenate([clip[:given], film]) for film in drawn]
            words = ", ".join(["truth", *(f"sample of seed {asked['seed'] + n}" for n in range(len(films)))])
            return [clip, *films], f"From left to right: {words}. Frames with an ochre margin were given.", given

        return await self.shown("predict", work)

    async def swap(self, name: str | None, dropped: str | None, other: str | None, other_dropped: str | None) -> str:
        """Two clips, and each one's scene with the other's object and motion."""

        def work(served: Served, stop: Stop) -> Show:
            clips = np.stack([self.clip(served, name, dropped), self.clip(served, other, other_dropped)])
            numbers = {part: [0, 1] if part == "scene" else [1, 0] for part in served.model.components}
            new = self.service.perform(served, "recombine", clips, numbers, stop)
            words = "both clips; the first one's scene with the second one's object and motion; and the other way round"
            return [*clips, *new], f"From left to right: {words}.", 0

        return await self.shown("recombine", work)

    async def components(self, name: str | None, dropped: str | None) -> str:
        """A clip, and what each component draws alone."""

        def work(served: Served, stop: Stop) -> Show:
            clip = self.clip(served, name, dropped)
            parts = self.service.perform(served, "decompose", clip[None], {}, stop)
            words = ", ".join(["the clip", *(part.replace("_", " and ") for part in parts)])
            return [clip, *(video[0] for video in parts.values())], f"From left to right: {words}, each alone.", 0

        return await self.shown("decompose", work)

    async def shown(self, task: str, work: Callable[[Served, Stop], Show]) -> str:
        """What `work` gives, as HTML; a refusal as gradio shows it."""
        import gradio

        try:
            with self.service.metrics.request(task):
                return await self.service.run(
                    self.service.gate.enter(), lambda served, stop: _figure(*work(served, stop))
                )
        except MosoError as error:
            raise gradio.Error(str(error), print_exception=False) from None

    def clip(self, served: Served, name: str | None, dropped: str | None) -> Clip:
        """T frames of what was dropped, or else chosen, at the model's size."""
        model = served.model
        if dropped:
            file = upload(Path(dropped).read_bytes(), name=Path(dropped).name)
            wanted = {"resize": True, "start": 0}
            frames: Clip = brought(Body([file]), model, "reconstruct", wanted, self.service.limits).frames[0]
            return frames
        if not name:
            raise InputError("choose a clip, or drop one")
        clips = self.sources[name].read(0, model.clip_frames).frames[:1]
        if clips.shape[1] < model.clip_frames:
            raise InputError(f"{name}: has {clips.shape[1]} frames, {model.clip_frames} are needed")
        return fit(name, clips, model.height, model.width, resize=True)[0]


def _figure(panels: Sequence[np.ndarray], words: str, given: int) -> str:
    with tempfile.TemporaryDirectory(prefix="moso-serve-") as temporary:
        path = Path(temporary) / "seen.gif"
        write(path, np.stack(panels), FPS, columns=len(panels), given=range(given))
        data = base64.b64encode(path.read_bytes()).decode()
    style = f"height:{HEIGHT}px;max-width:100%;object-fit:contain;image-rendering:pixelated"
    text = html.escape(words)
    image = f'<img style="{style}" alt="{text}" src="data:image/gif;base64,{data}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"
