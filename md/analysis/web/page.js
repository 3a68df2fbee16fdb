"use strict";
// Draws what `data` says, which md/analysis/page.py writes. Nothing is loaded from anywhere.
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const colours = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888"];
const dark = matchMedia("(prefers-color-scheme: dark)");
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function table(id, head, rows, numbers) {
  const into = find(id);
  for (const [kind, cells] of [["th", head], ...rows.map((row) => ["td", row])]) {
    if (!cells) continue;
    const line = into.appendChild(element("tr"));
    cells.forEach((cell, k) => line.appendChild(
      element(kind, cell, numbers.includes(k) ? "number" : "")));
  }
}

// -- words and tables ---------------------------------------------------------------------------

function writeWords() {
  find("title").textContent = data.title;
  find("subtitle").textContent = data.subtitle;
  for (const check of data.checks)
    find("checks").appendChild(element("li", check.text, check.good ? "good" : "bad"));
  table("means", ["", "mean ± error", "unit", "spread", "tau, ps", "from, ps"], data.means,
    [1, 3, 4, 5]);
  table("facts", null, data.facts, []);
  for (const [name, reason] of data.left_out)
    find("left").appendChild(element("li", `${name}: ${reason}`));
  find("omitted").hidden = data.left_out.length === 0;
  const total = data.phases.reduce((sum, [, seconds]) => sum + seconds, 0);
  data.phases.forEach(([name, seconds], k) => {
    const bar = find("time").appendChild(element("div", `${name} ${seconds.toPrecision(3)} s`));
    bar.style.width = `${100 * seconds / total}%`;
    bar.style.background = colours[k % colours.length];
    bar.title = bar.textContent;
  });
  find("time").hidden = total === 0;
}

// -- plots --------------------------------------------------------------------------------------

let charts = [];

function options(panel, width) {
  const axis = (label) => ({ label, stroke: style("--faint"), font: "12px sans-serif",
    labelFont: "12px sans-serif", labelSize: 22, grid: { stroke: style("--line"), width: 1 },
    ticks: { stroke: style("--line"), width: 1 } });
  const series = Object.keys(panel.curves).map((label, k) => ({
    label, width: 1.5, stroke: label === "all" ? style("--ink") : colours[k % colours.length],
    points: { show: panel.x.length < 3 },
    value: (_, v) => v === null ? "–" : v.toPrecision(5),
  }));
  const scales = { x: { time: false }, y: {} };
  if (panel.top !== null)
    scales.y.range = (u, low, high) =>
      [high > panel.top ? -0.04 * panel.top : low, Math.min(1.05 * high, panel.top)];
  const yAxis = { ...axis(), size: 64 };  // its title stands above, where there is room
  return { width, height: panel.height, scales, axes: [axis(panel.x_title), yAxis],
    cursor: { drag: { x: true, y: false } },
    series: [{ label: panel.x_title, value: (_, v) => v === null ? "–" : v.toPrecision(5) },
      ...series] };
}

function drawPlots() {
  for (const { chart } of charts) chart.destroy();
  charts = [];
  find("plots").replaceChildren();
  for (const plot of data.plots) {
    const box = find("plots").appendChild(element("div", undefined, "plot"));
    box.appendChild(element("h3", plot.title));
    for (const panel of plot.panels) {
      box.appendChild(element("p", panel.y_title, "axis"));
      const chart = new uPlot(options(panel, box.clientWidth),
        [panel.x, ...Object.values(panel.curves)], box);
      charts.push({ chart, box, panel });
    }
    for (const line of plot.findings) box.appendChild(element("p", line));
    for (const line of plot.remarks) box.appendChild(element("p", line, "note"));
  }
}

// -- the structure ------------------------------------------------------------------------------

const movie = data.movie;
const edges = [[0, 1], [0, 2], [0, 4], [1, 3], [1, 5], [2, 3], [2, 6], [3, 7], [4, 5], [4, 6],
  [5, 7], [6, 7]];

function positions() {
  const bytes = Uint8Array.from(atob(movie.positions), (c) => c.charCodeAt(0));
  return new Int32Array(bytes.buffer);
}

function drawCell(viewer, cell) {
  viewer.removeAllShapes();
  if (!cell) return;
  const corner = (k) => [0, 1, 2].map((c) => [0, 1, 2].reduce(
    (sum, axis) => sum + ((k >> axis) & 1) * cell[axis][c], 0));
  const point = (k) => { const [x, y, z] = corner(k); return { x, y, z }; };
  for (const [a, b] of edges)
    viewer.addLine({ start: point(a), end: point(b), color: style("--faint"), linewidth: 1.5 });
}

function showStructure() {
  const symbols = movie.symbols, n = symbols.length, grid = positions();
  const coordinate = (k) => (movie.unit_A * grid[k]).toFixed(3);
  const lines = [];
  movie.times_ps.forEach((_, f) => {
    lines.push(n, "");
    symbols.forEach((symbol, i) => {
      const k = 3 * (f * n + i);
      lines.push(`${symbol} ${coordinate(k)} ${coordinate(k + 1)} ${coordinate(k + 2)}`);
    });
  });
  const viewer = $3Dmol.createViewer(find("viewer"), { backgroundColor: style("--stage") });
  const small = n <= 400;
  viewer.addModelsAsFrames(lines.join("\n"), "xyz", { assignBonds: small });
  const colorscheme = "Jmol", sphere = { scale: small ? 0.27 : 0.35, colorscheme };
  viewer.setStyle({}, small ? { sphere, stick: { radius: 0.11, colorscheme } } : { sphere });
  drawCell(viewer, movie.cells[0]);
  viewer.zoomTo();
  viewer.rotate(20, "y");
  viewer.rotate(12, "x");
  viewer.render();
  return viewer;
}

function listElements() {
  for (const symbol of new Set(movie.symbols)) {
    const entry = find("elements").appendChild(element("span"));
    const colour = $3Dmol.elementColors.Jmol[symbol] ?? 0xff1493;
    entry.appendChild(element("i")).style.background = `#${colour.toString(16).padStart(6, "0")}`;
    entry.append(symbol);
  }
  find("shown").textContent = movie.remark;
}

function play(viewer) {
  const slider = find("slider"), button = find("play");
  slider.max = movie.times_ps.length - 1;
  find("player").hidden = movie.times_ps.length < 2;
  const show = () => {
    const f = Number(slider.value);
    find("when").textContent = `${movie.times_ps[f].toPrecision(4)} ps`;
    Promise.resolve(viewer.setFrame(f)).then(() => {
      drawCell(viewer, movie.cells[f]);
      viewer.render();
    });
  };
  slider.addEventListener("input", show);
  let timer = null;
  button.addEventListener("click", () => {
    button.textContent = timer ? "▶" : "❚❚";
    if (timer) { clearInterval(timer); timer = null; return; }
    timer = setInterval(() => {
      slider.value = (Number(slider.value) + 1) % movie.times_ps.length;
      show();
    }, 80);
  });
  show();
}

// -- all of it ----------------------------------------------------------------------------------

writeWords();
drawPlots();
let viewer = null;
if (!movie) find("structure").remove();
else {
  listElements();
  try {
    viewer = showStructure();
    play(viewer);
  } catch (error) {
    find("viewer").textContent = `This browser cannot draw in three dimensions (${error.message}).`;
    find("player").hidden = true;
  }
}
addEventListener("resize", () => {
  for (const { chart, box, panel } of charts)
    chart.setSize({ width: box.clientWidth, height: panel.height });
  viewer?.resize();
});
dark.addEventListener("change", () => {
  drawPlots();
  viewer?.setBackgroundColor(style("--stage"));
  if (viewer) drawCell(viewer, movie.cells[Number(find("slider").value)]);
  viewer?.render();
});
document.body.dataset.ready = `${charts.length} plots, ${viewer ? "viewer" : "no viewer"}`;
