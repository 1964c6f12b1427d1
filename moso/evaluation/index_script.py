"""Style sheet and script of the index page (index_page.py), laid over the report's own style sheet."""

STYLE = """
.choose label { display: flex; gap: 0.5rem; align-items: center; min-width: 0; max-width: 100%; }
select { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 0.3rem 0.6rem; min-height: 2.4rem; min-width: 0; max-width: min(100%, 30rem); }
.choose { position: static; }
#runs thead th:nth-child(2) { text-align: left; }
td { white-space: nowrap; }
dd, td.text { white-space: normal; }
#comparison td { overflow-wrap: anywhere; }
.refused { border-left: 4px solid var(--bad); padding: 0.2rem 0 0.2rem 0.9rem; overflow-wrap: anywhere; }
"""

# Elements are made with textContent, never from strings: a run's name or protocol is data.
SCRIPT = """
"use strict";
const {runs, units} = JSON.parse(document.querySelector("#data").textContent);
const place = document.querySelector("#comparison");
const choice = {a: document.querySelector("#a"), b: document.querySelector("#b")};
const SVG = "http://www.w3.org/2000/svg";
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
function number(metric, value, signed = false) {
  if (value === undefined) return "\\u2013";
  const [, decimals, unit] = units[metric] ?? [metric, 4, ""];
  const text = `${signed && value > 0 ? "+" : ""}${value.toFixed(decimals)}`.replace("-", "\\u2212");
  return unit ? `${text} ${unit}` : text;
}
function title(metric) { return (units[metric] ?? [metric])[0]; }
function union(...objects) { return [...new Set(objects.flatMap((o) => Object.keys(o ?? {})))]; }
function table(heads, rows) {
  const head = make("thead", {}, make("tr", {}, ...heads.map((h) => make("th", {scope: "col"}, h))));
  const body = make("tbody", {}, ...rows.map(([name, ...cells]) =>
    make("tr", {}, make("th", {scope: "row"}, name), ...cells.map((c) => make("td", {}, c)))));
  return make("div", {class: "wide"}, make("table", {}, head, body));
}
function refusal(a, b) {
  const rows = union(a.protocol, b.protocol).filter((key) => a.protocol[key] !== b.protocol[key])
    .map((key) => [key, a.protocol[key] ?? "absent", b.protocol[key] ?? "absent"]);
  return [make("p", {class: "refused"}, "Not compared: the protocols differ, so the figures answer different " +
    `questions (${a.digest.slice(0, 8)} and ${b.digest.slice(0, 8)}). They differ in:`),
    table(["field", "A", "B"], rows)];
}
function figures(a, b) {
  const rows = [];
  for (const method of union({[a.main]: 0}, a.figures, b.figures))
    for (const metric of union(a.figures[method], b.figures[method])) {
      const [x, y] = [a.figures[method]?.[metric], b.figures[method]?.[metric]];
      const apart = x === undefined || y === undefined ? undefined : x - y;
      rows.push([`${method.replaceAll("_", " ")}, ${title(metric)}`, number(metric, x), number(metric, y),
        number(metric, apart, true)]);
    }
  return table(["figure", "A", "B", "A \\u2212 B"], rows);
}
function chart(metric, a, b) {
  const [W, H, L, R, T, B] = [560, 300, 58, 22, 14, 42];
  const lines = [["A", a, a.main, "c0"], ["B", b, b.main, "c2"],
      [`A, ${a.baseline.replaceAll("_", " ")}`, a, a.baseline, "c1"]]
    .map(([name, run, method, colour]) => ({name, colour, points: run.curves[metric]?.[method] ?? [],
      dashed: method !== run.main})).filter((line) => line.points.length);
  const caption = make("figcaption", {}, `${title(metric)} by frame of the clip`);
  if (!lines.length) return make("figure", {class: "chart"}, caption, make("p", {class: "note"}, "No data."));
  const xs = lines.flatMap((l) => l.points.map((p) => p[0])), ys = lines.flatMap((l) => l.points.map((p) => p[1]));
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const room = (Math.max(...ys) - Math.min(...ys)) * 0.06 || 0.5;
  const [y0, y1] = [Math.min(...ys) - room, Math.max(...ys) + room];
  const across = (x) => x1 > x0 ? L + (x - x0) / (x1 - x0) * (W - R - L) : (L + W - R) / 2;
  const down = (y) => H - B - (y - y0) / (y1 - y0) * (H - B - T);
  const picture = draw("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": caption.textContent});
  picture.append(draw("path", {class: "axis", d: `M${L} ${T}V${H - B}H${W - R}`}));
  for (let i = 0; i <= 4; i++) {
    const y = y0 + (y1 - y0) * i / 4;
    picture.append(draw("line", {class: "grid", x1: L, x2: W - R, y1: down(y), y2: down(y)}),
      draw("text", {class: "tick", x: L - 8, y: down(y) + 4, "text-anchor": "end"}, String(+y.toPrecision(4))));
  }
  const stride = Math.max(1, Math.ceil((x1 - x0) / 8));
  for (let x = x0; x <= x1; x += stride)
    picture.append(draw("text", {class: "tick", x: across(x), y: H - B + 18, "text-anchor": "middle"}, String(x)));
  picture.append(draw("text", {class: "label", x: (L + W - R) / 2, y: H - 6, "text-anchor": "middle"}, "frame"));
  const key = (line, d) => draw("path", {class: `line ${line.colour}`, d,
    ...(line.dashed ? {"stroke-dasharray": "6 4"} : {})});
  for (const line of lines)
    picture.append(key(line, "M" + line.points.map(([x, y]) => `${across(x)} ${down(y)}`).join("L")));
  const legend = make("ul", {class: "legend"}, ...lines.map((line) =>
    make("li", {}, draw("svg", {class: "key", viewBox: "0 0 24 8"}, key(line, "M1 4H23")), line.name)));
  return make("figure", {class: "chart"}, caption, picture, legend);
}
function show() {
  const [a, b] = [runs[choice.a.value], runs[choice.b.value]];
  if (a.digest !== b.digest) { place.replaceChildren(...refusal(a, b)); return; }
  const note = make("p", {class: "note"}, "Differences of means. Whether one is more than chance over the clips: ",
    make("code", {}, `moso metrics compare ${a.folder} ${b.folder}`),
    ". FVD and FID are of all videos at once and have no value a clip: they are not part of that test.");
  const curves = make("div", {class: "charts"}, ...union(a.curves, b.curves).map((metric) => chart(metric, a, b)));
  const missing = [...new Set([...a.missing, ...b.missing])];
  place.replaceChildren(figures(a, b), note, curves);
  if (missing.length) place.append(make("p", {class: "note"}, `Not computed: ${missing.join(", ")}.`));
}
for (const select of Object.values(choice)) select.addEventListener("change", show);
show();
"""
