// Curves. A panel has x, curves by their names (null: no value), and options:
// log: a logarithmic axis; points: dots instead of lines; diagonal: a line at y = x.
let charts = [];
const readable = (_, v) => v === null || v === undefined ? "–" : Number(v).toPrecision(5);

function colourOf(label, k) {
  return label === "all" ? style("--ink") : colours[k % colours.length];
}

function seriesOf(panel) {
  const dots = panel.points || panel.x.length < 3 || panel.marks;
  const series = Object.keys(panel.curves).map((label, k) => ({
    label, stroke: colourOf(label, k), spanGaps: true, value: readable,
    width: panel.points ? 0 : 1.5,
    points: { show: dots, size: panel.points ? 4 : 5, stroke: colourOf(label, k),
      fill: colourOf(label, k) },
    ...(panel.points ? { paths: () => null } : {}),
  }));
  if (panel.diagonal)
    series.push({ label: "equal", stroke: style("--faint"), width: 1, points: { show: false },
      spanGaps: true, value: readable });
  return series;
}

function columnsOf(panel) {
  const columns = [panel.x, ...Object.values(panel.curves)];
  if (panel.diagonal) columns.push(panel.x);
  return columns;
}

// Ticks of a logarithmic axis: 1, 2 and 5 of each power of ten, fewer where there are many.
function fewTicks(_, splits) {
  const powers = Math.log10(splits.at(-1) / splits[0]), allowed = powers > 3 ? [1] : [1, 2, 5];
  return splits.map((v) => {
    const first = Number(v.toExponential().split("e")[0]);
    return allowed.some((a) => Math.abs(a - first) < 1e-6) ? Number(v.toPrecision(3)) : null;
  });
}

function options(panel, width) {
  const axis = (label) => ({ label, stroke: style("--faint"), font: "12px sans-serif",
    labelFont: "12px sans-serif", labelSize: 22, grid: { stroke: style("--line"), width: 1 },
    ticks: { stroke: style("--line"), width: 1 } });
  const scales = { x: { time: false }, y: panel.log ? { distr: 3 } : {} };
  if (panel.top !== null && panel.top !== undefined)
    scales.y.range = (u, low, high) =>
      [high > panel.top ? -0.04 * panel.top : low, Math.min(1.05 * high, panel.top)];
  const yAxis = { ...axis(), size: 64 };  // its title stands above, where there is room
  if (panel.log) {
    yAxis.filter = yAxis.grid.filter = fewTicks;
    yAxis.values = (_, splits) => splits.map((v) => v === null ? "" : v < 1e-3 ? v.toExponential()
      : String(v));
  }
  const xAxis = axis(panel.x_title);
  if (panel.whole) xAxis.incrs = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];
  return { width, height: panel.height, scales, axes: [xAxis, yAxis],
    cursor: { drag: { x: true, y: false } },
    series: [{ label: panel.x_title, value: readable }, ...seriesOf(panel)] };
}

function drawPlots(plots) {
  for (const { chart } of charts) chart.destroy();
  charts = [];
  find("plots").replaceChildren();
  find("curves").hidden = plots.length === 0;
  for (const plot of plots) {
    const box = find("plots").appendChild(element("div", undefined, "plot"));
    box.appendChild(element("h3", plot.title));
    for (const panel of plot.panels) {
      box.appendChild(element("p", panel.y_title, "axis"));
      const chart = new uPlot(options(panel, box.clientWidth), columnsOf(panel), box);
      charts.push({ chart, box, panel });
    }
    for (const line of plot.findings ?? []) box.appendChild(element("p", line));
    for (const line of plot.remarks ?? []) box.appendChild(element("p", line, "note"));
  }
}

// Same panels with more points: the curves go on where they are; others are drawn anew.
function updatePlots(plots) {
  const shape = (panels) => JSON.stringify(
    panels.map((panel) => [panel.y_title, Object.keys(panel.curves)]));
  const panels = plots.flatMap((plot) => plot.panels);
  if (shape(panels) !== shape(charts.map(({ panel }) => panel))) return drawPlots(plots);
  charts.forEach((entry, k) => {
    const { min, max } = entry.chart.scales.x, x = entry.panel.x;
    const zoomed = min > x[0] || max < x.at(-1);
    entry.panel = panels[k];
    entry.chart.setData(columnsOf(panels[k]), !zoomed);
  });
}

function fitPlots() {
  for (const { chart, box, panel } of charts)
    chart.setSize({ width: box.clientWidth, height: panel.height });
}
