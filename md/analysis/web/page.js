// Draws what `data` says. Nothing is loaded from anywhere, but what a live page's own server has.
let data = JSON.parse(find("data").textContent), viewer = null;

function drawStructure() {
  const has = Boolean(data.movie || data.gallery?.items.length);
  find("structure").hidden = !has;
  if (!has) return;
  try {
    if (viewer) viewer.update(data);
    else viewer = structureViewer(data);
  } catch (error) {
    find("viewer").textContent = `This browser cannot draw in three dimensions (${error.message}).`;
    find("player").hidden = true;
  }
}

async function refresh() {
  try {
    const answer = await fetch("data.json");
    if (!answer.ok) throw new Error(answer.statusText);
    data = { ...(await answer.json()), refresh_s: data.refresh_s };
    if (data.progress?.state !== "running" && data.has_report) return location.reload();
    writeWords(data);
    updatePlots(data.plots ?? []);
    drawStructure();
  } catch (error) {
    find("how").textContent = `fastequi watch does not answer any more (${error.message})`;
    find("progress").className = "stopped";
  }
  setTimeout(refresh, 1000 * data.refresh_s);
}

writeWords(data);
drawPlots(data.plots ?? []);
drawStructure();
addEventListener("resize", () => { fitPlots(); viewer?.resize(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  drawPlots(data.plots ?? []);
  viewer?.recolour();
});
document.body.dataset.ready = `${charts.length} plots, ${viewer ? "viewer" : "no viewer"}`;
if (data.refresh_s) setTimeout(refresh, 1000 * data.refresh_s);
