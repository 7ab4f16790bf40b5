"use strict";
// Curves: pointing at them, moving along them by keys, and hiding some. Without it they are static.
for (const chart of document.querySelectorAll(".chart")) {
  const data = JSON.parse(chart.querySelector("script").textContent);
  const planes = [...chart.querySelectorAll(".plane")];
  const items = [...chart.querySelectorAll(".legend li[data-s]")];
  const boxes = items.map((item) => item.querySelector("input"));
  const curves = (s) => chart.querySelectorAll(`.curve[data-s="${s}"]`);
  const finals = items.map((item) => [...item.querySelectorAll(".value")].map((v) => v.textContent));
  const shown = (s) => boxes[s].checked;
  const written = (plot, value) => (plot.signed && value > 0 ? "+" : "") + value.toFixed(1);

  function refresh() {
    items.forEach((item, s) => curves(s).forEach((curve) => curve.classList.toggle("off", !shown(s))));
    chart.classList.toggle("many", boxes.filter((box, s) => box.checked && data.plots.some((plot) => s in plot.curves)).length > data.most);
  }

  function heat(s) {
    chart.classList.toggle("pointing", s !== null);
    chart.querySelectorAll(".hot").forEach((hot) => hot.classList.remove("hot"));
    if (s === null) return;
    curves(s).forEach((curve) => curve.classList.add("hot"));
    items[s].classList.add("hot");
  }

  // Index of the point next to x.
  function nearest(xs, x) {
    let best = 0;
    xs.forEach((at, i) => { if (Math.abs(at - x) < Math.abs(xs[best] - x)) best = i; });
    return best;
  }

  function valueAt(plot, s, x) {
    if (s in plot.levels) return { x, y: plot.levels[s], half: null, n: null };
    const curve = plot.curves[s];
    if (!curve) return null;
    const i = nearest(curve.x, x);
    return { x: curve.x[i], y: curve.y[i], half: curve.half && curve.half[i], n: curve.n };
  }

  planes.forEach((plane, p) => {
    const plot = data.plots[p];
    const add = (kind) => {
      const made = document.createElement("div");
      made.className = kind;
      made.hidden = true;
      return plane.appendChild(made);
    };
    const guide = add("guide"), spot = add("spot"), tip = add("tip");
    tip.setAttribute("role", "status");
    plane.tabIndex = 0;
    plane.setAttribute("role", "group");
    plane.setAttribute("aria-label", plane.dataset.name + ": left and right move along the curve, up and down between curves");
    const grid = [...new Set(Object.values(plot.curves).flatMap((curve) => curve.x))].sort((a, b) => a - b);
    const across = (x) => (x - plot.x[0]) / (plot.x[1] - plot.x[0]);
    const down = (y) => 1 - (y - plot.y[0]) / (plot.y[1] - plot.y[0]);
    const known = () => items.map((_, s) => s).filter((s) => shown(s) && (s in plot.curves || s in plot.levels));
    let here = { x: grid[grid.length - 1], s: null };

    function point(x, s) {
      const found = valueAt(plot, s, x);
      if (!found) return;
      here = { x: found.x, s };
      guide.hidden = spot.hidden = tip.hidden = false;
      const left = 100 * across(found.x);
      guide.style.left = spot.style.left = left + "%";
      spot.style.top = 100 * Math.min(1, Math.max(0, down(found.y))) + "%";
      const unit = plot.signed ? " points" : " %";
      const half = found.half === null ? "" : " ± " + found.half.toFixed(1);
      const seeds = found.n === null ? "" : ` (${found.n} seed${found.n > 1 ? "s" : ""})`;
      tip.textContent = `${data.labels[s]}, ${found.x.toLocaleString("en")}: ${written(plot, found.y)}${half}${unit}${seeds}`;
      tip.style.left = left < 50 ? `calc(${left}% + 10px)` : "";
      tip.style.right = left < 50 ? "" : `calc(${100 - left}% + 10px)`;
      heat(s);
      data.plots.forEach((other, q) => items.forEach((item, t) => {
        const value = valueAt(other, t, found.x);
        item.querySelectorAll(".value")[q].textContent = value ? written(other, value.y) : "";
      }));
    }

    function leave() {
      guide.hidden = spot.hidden = tip.hidden = true;
      heat(null);
      items.forEach((item, s) => item.querySelectorAll(".value").forEach((v, q) => { v.textContent = finals[s][q]; }));
    }

    plane.addEventListener("pointermove", (event) => {
      const box = plane.getBoundingClientRect();
      const x = plot.x[0] + (event.clientX - box.left) / box.width * (plot.x[1] - plot.x[0]);
      const at = grid[nearest(grid, x)], y = (event.clientY - box.top) / box.height;
      const ranked = known().map((s) => [Math.abs(down(valueAt(plot, s, at).y) - y), s]).sort((a, b) => a[0] - b[0]);
      if (ranked.length) point(at, ranked[0][1]);
    });
    plane.addEventListener("pointerleave", leave);
    plane.addEventListener("blur", leave);
    plane.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key] || 0;
      const turn = { ArrowUp: -1, ArrowDown: 1 }[event.key] || 0;
      if (event.key === "Escape") leave();
      if (!step && !turn) return;
      event.preventDefault();
      const curves = known();
      if (!curves.length) return;
      const place = curves.indexOf(here.s);
      const s = place < 0 ? curves[0] : curves[(place + turn + curves.length) % curves.length];
      const i = place < 0 ? grid.length - 1 : nearest(grid, here.x) + step;
      point(grid[Math.min(grid.length - 1, Math.max(0, i))], s);
    });
  });

  function csv() {
    const lines = [["plot", "strategy", "x", "value", "half_band", "seeds"]];
    data.plots.forEach((plot, p) => Object.entries(plot.curves).forEach(([s, curve]) => curve.x.forEach((x, i) => {
      lines.push([planes[p].dataset.name, data.cells[s], x, curve.y[i], curve.half ? curve.half[i] : "", curve.n]);
    })));
    const quoted = (cell) => /[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : cell;
    return lines.map((line) => line.map(quoted).join(",") + "\n").join("");
  }

  const tools = chart.querySelector(".tools");
  tools.hidden = false;
  chart.classList.add("live");
  boxes.forEach((box) => { box.hidden = false; box.addEventListener("change", refresh); });
  const all = (state) => { boxes.forEach((box) => { box.checked = state; }); refresh(); };
  tools.querySelector(".all").addEventListener("click", () => all(true));
  tools.querySelector(".none").addEventListener("click", () => all(false));
  tools.querySelector(".csv").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "curves.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  items.forEach((item, s) => {
    item.addEventListener("pointerenter", () => { if (shown(s)) heat(s); });
    item.addEventListener("pointerleave", () => heat(null));
  });
  refresh();
}

// Prints with everything open.
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((one) => { one.open = true; });
});
window.addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
