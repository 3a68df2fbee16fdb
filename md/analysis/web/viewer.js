// Structures in three dimensions: the frames of one system (`movie`), or several (`gallery`).
const edges = [[0, 1], [0, 2], [0, 4], [1, 3], [1, 5], [2, 3], [2, 6], [3, 7], [4, 5], [4, 6],
  [5, 7], [6, 7]];
const SMALL = 400;  // atoms up to which bonds are drawn

function coordinates(text, unit) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const grid = new Int32Array(bytes.buffer);
  return (k) => (unit * grid[k]).toFixed(3);
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

function textOf(symbols, at, first) {
  const lines = symbols.map((symbol, i) => {
    const k = 3 * (first + i);
    return `${symbol} ${at(k)} ${at(k + 1)} ${at(k + 2)}`;
  });
  return [symbols.length, "", ...lines].join("\n");
}

function styled(small, colours) {
  const sphere = { scale: small ? 0.27 : 0.35, ...colours };
  return small ? { sphere, stick: { radius: 0.11, ...colours } } : { sphere };
}

function turn(viewer) {
  viewer.zoomTo();
  viewer.rotate(20, "y");
  viewer.rotate(12, "x");
}

// Each has load(), show(k), count and what to say of the k-th.
function movieShow(viewer, movie) {
  return {
    count: movie.times_ps.length,
    say: (k) => `${movie.times_ps[k].toPrecision(4)} ps`,
    load() {
      const { symbols } = movie, at = coordinates(movie.positions, movie.unit_A);
      const text = movie.times_ps.map((_, f) => textOf(symbols, at, f * symbols.length));
      const small = symbols.length <= SMALL;
      viewer.removeAllModels();
      viewer.addModelsAsFrames(text.join("\n"), "xyz", { assignBonds: small });
      viewer.setStyle({}, styled(small, { colorscheme: "Jmol" }));
      drawCell(viewer, movie.cells[0]);
    },
    show: (k) => Promise.resolve(viewer.setFrame(k)).then(() => {
      drawCell(viewer, movie.cells[k]);
      viewer.render();
    }),
    elements: movie.symbols,
    remark: movie.remark,
  };
}

// Atoms coloured by a value, from none to the largest of all items.
function galleryShow(viewer, gallery) {
  const top = Math.max(...gallery.items.flatMap((item) => item.values), 1e-12);
  const colour = (share) => {
    const mix = (a, b) => Math.round(a + (b - a) * Math.sqrt(share));
    return `rgb(${mix(160, 200)},${mix(190, 40)},${mix(215, 30)})`;
  };
  const show = (k) => {
    const item = gallery.items[k], small = item.symbols.length <= SMALL;
    viewer.removeAllModels();
    viewer.removeAllLabels();
    viewer.addModel(textOf(item.symbols, coordinates(item.positions, gallery.unit_A), 0), "xyz",
      { assignBonds: small });
    viewer.setStyle({}, styled(small, { colorfunc: (atom) => colour(item.values[atom.index] / top) }));
    for (const { atom, text } of item.labels)
      viewer.addLabel(text, { fontSize: 12, backgroundColor: style("--card"), inFront: true,
        fontColor: style("--ink"), backgroundOpacity: 0.85 }, { index: atom });
    drawCell(viewer, item.cell);
    turn(viewer);
    if (!item.cell) viewer.zoom(1.4);
    viewer.render();
    find("what").textContent = item.text;
  };
  return { count: gallery.items.length, say: (k) => `${k + 1} of ${gallery.items.length}`,
    load() { show(0); }, show, elements: [], remark: gallery.remark };
}

function listElements(symbols, remark) {
  find("elements").replaceChildren();
  for (const symbol of new Set(symbols)) {
    const entry = find("elements").appendChild(element("span"));
    const colour = $3Dmol.elementColors.Jmol[symbol] ?? 0xff1493;
    entry.appendChild(element("i")).style.background = `#${colour.toString(16).padStart(6, "0")}`;
    entry.append(symbol);
  }
  find("shown").textContent = remark;
}

// The viewer with its slider; update() takes other data and leaves the view as it is.
function structureViewer(data) {
  const viewer = $3Dmol.createViewer(find("viewer"), { backgroundColor: style("--stage") });
  const slider = find("slider"), button = find("play");
  let shown = null, newest = null, timer = null;
  const show = () => {
    find("when").textContent = shown.say(Number(slider.value));
    return shown.show(Number(slider.value));
  };
  const take = (data) => {
    const isFirst = shown === null, view = isFirst ? null : viewer.getView();
    const atEnd = isFirst ? Boolean(data.refresh_s) : slider.value === slider.max;
    newest = data.movie?.times_ps.at(-1);
    shown = data.movie ? movieShow(viewer, data.movie) : galleryShow(viewer, data.gallery);
    find("structures").textContent = data.movie ? "Structure" : data.gallery.title;
    shown.load();
    listElements(shown.elements, shown.remark);
    slider.max = shown.count - 1;
    find("player").hidden = shown.count < 2;
    button.hidden = !data.movie;
    if (atEnd) slider.value = slider.max;
    if (isFirst) turn(viewer);
    else viewer.setView(view);
    viewer.render();
    show();
  };
  slider.addEventListener("input", show);
  button.addEventListener("click", () => {
    button.textContent = timer ? "▶" : "❚❚";
    if (timer) { clearInterval(timer); timer = null; return; }
    timer = setInterval(() => {
      slider.value = (Number(slider.value) + 1) % shown.count;
      show();
    }, 80);
  });
  take(data);
  return {
    update(data) { if (data.movie && data.movie.times_ps.at(-1) !== newest) take(data); },
    resize() { viewer.resize(); },
    recolour() { viewer.setBackgroundColor(style("--stage")); show(); },
  };
}
