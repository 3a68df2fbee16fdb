"use strict";
// Words and tables of what `data` says, which md/analysis/document.py describes.
const find = (id) => document.getElementById(id);
const colours = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888"];
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// A cell is a text, or { text, link } for a page beside this one.
function fillTable(into, head, rows, numbers) {
  into.replaceChildren();
  for (const [kind, cells] of [["th", head], ...rows.map((row) => ["td", row])]) {
    if (!cells) continue;
    const line = into.appendChild(element("tr"));
    cells.forEach((cell, k) => {
      const made = line.appendChild(element(kind, "", numbers.includes(k) ? "number" : ""));
      if (typeof cell === "object") Object.assign(made.appendChild(element("a", cell.text)), { href: cell.link });
      else made.textContent = cell;
    });
  }
}

function writeTables(tables) {
  find("tables").replaceChildren();
  for (const table of tables) {
    const section = find("tables").appendChild(element("section"));
    section.appendChild(element("h2", table.title));
    const wide = section.appendChild(element("div", undefined, "wide"));
    fillTable(wide.appendChild(element("table")), table.head, table.rows, table.numbers ?? []);
    if (table.note) section.appendChild(element("p", table.note, "note"));
  }
}

function writeProgress(progress) {
  find("progress").hidden = !progress;
  if (!progress) return;
  find("progress").className = progress.state;
  find("bar").firstElementChild.style.width = `${100 * progress.share}%`;
  find("how").textContent = progress.text;
}

function writeChecks(checks) {
  find("trust").hidden = checks.length === 0;
  find("checks").replaceChildren(
    ...checks.map((check) => element("li", check.text, check.good ? "good" : "bad")));
}

function writePhases(phases) {
  const total = phases.reduce((sum, [, seconds]) => sum + seconds, 0);
  find("time").replaceChildren();
  phases.forEach(([name, seconds], k) => {
    const bar = find("time").appendChild(element("div", `${name} ${seconds.toPrecision(3)} s`));
    bar.style.width = `${100 * seconds / total}%`;
    bar.style.background = colours[k % colours.length];
    bar.title = bar.textContent;
  });
  find("time").hidden = total === 0;
}

function writeWords(data) {
  find("title").textContent = data.title;
  find("subtitle").textContent = data.subtitle ?? "";
  writeProgress(data.progress);
  writeChecks(data.checks ?? []);
  writeTables(data.tables ?? []);
  find("left").replaceChildren(...(data.left_out ?? []).map(
    ([name, reason]) => element("li", `${name}: ${reason}`)));
  find("omitted").hidden = !data.left_out?.length;
  writePhases(data.phases ?? []);
  fillTable(find("facts"), null, data.facts ?? [], []);
  find("asked").hidden = !data.facts?.length;
  find("about").textContent = "Drag to zoom, double-click to go back, point to read. "
    + (data.note ?? "");
}
