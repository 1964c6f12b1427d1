"""Style sheet and script of the report page, inside the page so that it is one file.

The script steps a CSS variable (--f, the frame) per film; the sheets are backgrounds moved by it. Without a script the
page shows every clip's first scored frame.
"""

STYLE = """
:root { color-scheme: light dark;
  --page: #f7f7f5; --card: #ffffff; --ink: #1d2126; --soft: #5d6670; --rule: #dfe2e5; --mark: #0b6e99;
  --good: #1a7f4b; --bad: #b3261e;
  --c0: #0b6e99; --c1: #8a8f98; --c2: #c58b00; --c3: #1a7f4b; --c4: #b3428f; --c5: #d1495b;
  --c6: #7a5c3e; --c7: #5b5fc7; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14171a; --card: #1d2125; --ink: #e8eaed; --soft: #a0a8b1; --rule: #363c42; --mark: #58b8e3;
  --good: #5ec98f; --bad: #ff8a80;
  --c0: #58b8e3; --c1: #9aa2ab; --c2: #e5b84b; --c3: #5ec98f; --c4: #e08cc4; --c5: #f08a96;
  --c6: #c9a27e; --c7: #a3a6f5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 1.5rem clamp(0.75rem, 3vw, 2rem) 4rem; }
h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.2; margin: 0.5rem 0 0.25rem; letter-spacing: -0.01em; }
h2 { font-size: 1.3rem; margin: 3rem 0 0.5rem; }
h3 { font-size: 1rem; margin: 0; }
p { margin: 0.4rem 0 0.8rem; max-width: 75ch; }
.note { color: var(--soft); }
code { font: 0.9em ui-monospace, monospace; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 0.25rem 1.1rem; margin: 0.75rem 0 0; }
a { color: var(--mark); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 230px), 1fr)); gap: 0.75rem;
  margin: 1.25rem 0 0; }
.tile, .film, .chart, .wide { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.tile { padding: 0.9rem 1rem; }
.tile .name { color: var(--soft); font-size: 0.9rem; }
.tile .value { font-size: 1.75rem; font-weight: 650; font-variant-numeric: tabular-nums; line-height: 1.25; }
.tile .more { font-size: 0.88rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.good { color: var(--good); } .bad { color: var(--bad); }
.bar { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; align-items: center;
  gap: 0.5rem 0.75rem; padding: 0.6rem 0;
  background: var(--page); }
button { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; padding: 0.3rem 0.9rem;
  min-height: 2.4rem; cursor: pointer; }
button:hover { border-color: var(--mark); }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
.films { display: grid;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, calc(4 * var(--w) + 4rem)), 1fr)); gap: 1rem; }
.film { padding: 0.8rem 1rem 1rem; }
.film header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; align-items: baseline; }
.film .place { font-weight: 600; text-transform: capitalize; }
.film .figures { color: var(--soft); font-size: 0.88rem; font-variant-numeric: tabular-nums; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, var(--w)); gap: 0.6rem;
  margin: 0.6rem 0 0.5rem; max-width: calc(4 * var(--w) + 1.8rem); }
.panel { margin: 0; width: var(--w); }
.panel figcaption { font-size: 0.82rem; color: var(--soft); line-height: 1.3; margin-top: 0.2rem; }
.view { width: var(--w); height: var(--h); border-radius: 3px; background-image: var(--sheet);
  background-repeat: no-repeat;
  background-size: calc(var(--w) * var(--frames)) calc(var(--h) * var(--rows)); image-rendering: pixelated;
  background-position: calc(var(--f) * -1 * var(--w)) calc(var(--row) * -1 * var(--h));
  outline: 2px solid transparent; outline-offset: 1px; }
.view.held { background-position-x: calc(var(--g) * -1 * var(--w)); }
.film.given .view.lead { outline-color: var(--c2); }
.scrub { display: flex; align-items: center; gap: 0.75rem; flex-wrap: wrap; }
.scrub input { flex: 1 1 160px; accent-color: var(--mark); min-height: 1.6rem; }
.scrub output { flex: 0 1 21rem; font-size: 0.85rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; padding: 0.25rem 1rem; margin: 0.75rem 0; }
caption { caption-side: top; text-align: left; font-weight: 600; padding: 0.5rem 0.6rem 0.2rem; }
ul.notes { color: var(--soft); font-size: 0.92rem; max-width: 75ch; padding-left: 1.2rem; margin: 0.4rem 0 0.8rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 0.5rem 0.6rem; border-bottom: 1px solid var(--rule); vertical-align: top; }
tr:last-child td, tr:last-child th { border-bottom: 0; }
th { font-weight: 600; } thead th { color: var(--soft); font-size: 0.88rem; }
th:first-child, td.text, th.text { text-align: left; }
td small, th small { display: block; color: var(--soft); font-weight: 400; }
tr.ours th, tr.ours td { background: color-mix(in srgb, var(--mark) 9%, transparent); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); gap: 1rem;
  margin: 0.75rem 0; }
.chart { margin: 0; padding: 0.8rem 1rem; min-width: 0; }
.chart figcaption { font-weight: 600; margin-bottom: 0.3rem; }
.chart > svg { width: 100%; height: auto; display: block; }
.grid { stroke: var(--rule); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; fill: none; }
.tick { font: 12px system-ui, sans-serif; fill: var(--soft); } .label { font: 12.5px system-ui, sans-serif;
  fill: var(--soft); }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .dot { stroke: var(--card); stroke-width: 1; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); }
  .line.c3 { stroke: var(--c3); }
.line.c4 { stroke: var(--c4); } .line.c5 { stroke: var(--c5); } .line.c6 { stroke: var(--c6); }
  .line.c7 { stroke: var(--c7); }
.dot.c0 { fill: var(--c0); } .dot.c1 { fill: var(--c1); } .dot.c2 { fill: var(--c2); } .dot.c3 { fill: var(--c3); }
.dot.c4 { fill: var(--c4); } .dot.c5 { fill: var(--c5); } .dot.c6 { fill: var(--c6); } .dot.c7 { fill: var(--c7); }
.band { stroke: none; opacity: 0.14; }
.band.c0 { fill: var(--c0); } .band.c1 { fill: var(--c1); } .band.c2 { fill: var(--c2); } .band.c3 { fill: var(--c3); }
.band.c4 { fill: var(--c4); } .band.c5 { fill: var(--c5); } .band.c6 { fill: var(--c6); } .band.c7 { fill: var(--c7); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; margin: 0.4rem 0 0; padding: 0;
  font-size: 0.88rem; }
.legend li { display: flex; align-items: center; gap: 0.4rem; }
.key { width: 24px; height: 8px; flex: none; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) minmax(0, 1fr); gap: 0.3rem 1.25rem;
  margin: 0.5rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 480px) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 0.5rem; } }
"""

SCRIPT = """
"use strict";
const films = [...document.querySelectorAll(".film")].map((card) => {
  const film = {card, slider: card.querySelector("input"), out: card.querySelector("output"), frame: 0, held: 0,
    ...JSON.parse(card.dataset.film)};
  film.show = (frame) => {
    film.frame = frame;
    card.style.setProperty("--f", frame);
    card.style.setProperty("--g", film.last_given[frame]);
    card.classList.toggle("given", film.given[frame]);
    film.slider.value = frame;
    const told = film.told[frame];
    film.out.value = `frame ${frame + 1} of ${film.frames}` + (told ? `: ${told}` : "");
  };
  film.slider.addEventListener("input", () => { setPlaying(false); film.show(Number(film.slider.value)); });
  return film;
});
const play = document.querySelector("#play"), size = document.querySelector("#size"),
  grids = [...document.querySelectorAll(".films")];
let playing = false, last = 0;
function setPlaying(on) { playing = on; if (!play) return; play.textContent = on ? "Pause" : "Play";
  if (on) requestAnimationFrame(tick); }
function tick(now) {
  if (!playing) return;
  if (now - last > 220) {
    last = now;
    for (const film of films) {
      if (film.frame === film.frames - 1 && film.held < 4) { film.held += 1; continue; }
      film.held = 0;
      film.show((film.frame + 1) % film.frames);
    }
  }
  requestAnimationFrame(tick);
}
play?.addEventListener("click", () => setPlaying(!playing));
size?.addEventListener("click", () => {
  const large = grids.map((grid) => grid.classList.toggle("large"))[0];
  size.textContent = large ? "Smaller" : "Larger";
});
for (const film of films) film.show(film.start);
setPlaying(!matchMedia("(prefers-reduced-motion: reduce)").matches);
"""
