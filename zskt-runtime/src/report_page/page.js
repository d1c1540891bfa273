"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("curve-data").textContent);
  const theme = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
  const hiddenRuns = new Set();
  let smoothing = 0;

  const number = (value) => {
    const size = Math.abs(value);
    if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(2).replace(/\.?0+e/, "e");
    return String(Number(value.toPrecision(4)));
  };

  // As TensorBoard smooths: an exponential moving average without the bias of its start.
  const smoothed = (values) => {
    let sum = 0, weight = 0;
    return values.map((value) => {
      if (value === null) return null;
      sum = sum * smoothing + value * (1 - smoothing);
      weight = weight * smoothing + (1 - smoothing);
      return sum / weight;
    });
  };

  class View {
    constructor(root, chart) {
      Object.assign(this, { root, chart, log: false, hidden: new Set(), range: null, plot: null });
      this.place = root.querySelector(".plot");
      this.readout = root.querySelector(".readout");
      const xs = chart.xs.flat();
      this.first = xs.reduce((a, b) => Math.min(a, b), Infinity);
      this.last = xs.reduce((a, b) => Math.max(a, b), -Infinity);
      for (const button of root.querySelectorAll("[data-do]")) button.addEventListener("click", () => this.act(button));
      const positive = chart.lines.some((line) => line.y.some((value) => value > 0));
      if (!positive) root.querySelector("[data-do=log]").disabled = true;
      for (const button of root.querySelectorAll("[data-line]")) {
        button.addEventListener("click", () => {
          const line = Number(button.dataset.line);
          if (!this.hidden.delete(line)) this.hidden.add(line);
          button.setAttribute("aria-pressed", String(!this.hidden.has(line)));
          this.draw();
        });
      }
      new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.place);
      // What nobody has scrolled to yet is not drawn.
      this.near = new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && this.open(), { rootMargin: "400px" });
      this.near.observe(root);
    }

    open() {
      this.near.disconnect();
      if (!this.plot) this.draw();
    }

    redraw() {
      if (this.plot) this.draw();
    }

    size() {
      return { width: Math.max(this.place.clientWidth, 120), height: this.place.clientHeight };
    }

    act(button) {
      this.open();
      const { min, max } = this.plot.scales.x;
      const width = max - min;
      const moves = {
        in: [min + width / 4, max - width / 4],
        out: [min - width / 2, max + width / 2],
        left: [min - width / 4, max - width / 4],
        right: [min + width / 4, max + width / 4],
        all: [this.first, this.last],
      };
      if (button.dataset.do === "log") {
        this.log = !this.log;
        button.setAttribute("aria-pressed", String(this.log));
        return this.draw();
      }
      const [left, right] = moves[button.dataset.do];
      this.plot.setScale("x", { min: Math.max(left, this.first), max: Math.min(right, this.last) });
    }

    // The columns of the plot, and what each is drawn with. A line may have a band of two more columns.
    columns() {
      const tables = [], series = [{}], bands = [];
      const add = (line, y, style) => {
        tables.push([this.chart.xs[line.x], this.log ? y.map((value) => (value > 0 ? value : null)) : y]);
        return series.push({ points: { show: false }, ...style }) - 1;
      };
      this.chart.lines.forEach((line, index) => {
        if (this.hidden.has(index) || hiddenRuns.has(line.run)) return;
        const stroke = colour(`--c${line.colour % 8}`);
        const dash = DASHES[Math.floor(line.colour / 8) % DASHES.length];
        if (line.low) {
          const [high, low] = [line.high, line.low].map((y) => add(line, y, { stroke: "transparent", isBand: true }));
          bands.push({ series: [high, low], fill: stroke + "33" });
        }
        const smooth = smoothing > 0 && line.smooth;
        if (smooth) add(line, line.y, { stroke: stroke + "40", width: 1, isBand: true });
        const few = this.chart.xs[line.x].length < 40;
        const points = { show: few, size: 5, fill: stroke };
        add(line, smooth ? smoothed(line.y) : line.y, { stroke, dash, width: 1.75, label: line.name, points });
      });
      return { data: tables.length > 0 ? uPlot.join(tables) : [[]], series, bands };
    }

    draw() {
      const kept = this.plot && { min: this.plot.scales.x.min, max: this.plot.scales.x.max };
      this.plot?.destroy();
      const { data, series, bands } = this.columns();
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
      const values = (plot, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick)));
      const near = (plot, column, index) => {
        const of = plot.data[column];
        for (let far = 0; far < of.length; far++) {
          if (typeof of[index - far] === "number") return index - far;
          if (typeof of[index + far] === "number") return index + far;
        }
        return index;
      };
      this.plot = new uPlot({
        ...this.size(),
        legend: { show: false },
        padding: [8, 12, 0, 0],
        scales: { x: { time: false }, y: this.log ? { distr: 3, range: (plot, min, max) => uPlot.rangeLog(min ?? 0.1, max ?? 1, 10, false) } : {} },
        axes: [{ ...axis, values, size: 34 }, { ...axis, values, size: 58 }],
        focus: { alpha: 0.35 },
        cursor: { dataIdx: near, focus: { prox: 24 }, y: false, points: { size: 6 } },
        series,
        bands,
        hooks: { setCursor: [(plot) => this.read(plot)] },
      }, data, this.place);
      // With one point there is no range.
      if (kept && kept.max > kept.min) this.plot.setScale("x", kept);
    }

    // What the lines are under the mouse, the nearest first.
    read(plot) {
      const { idxs, left, top } = plot.cursor;
      if (left < 0 || typeof idxs[0] !== "number") return void (this.readout.textContent = "");
      const points = plot.series.flatMap((series, column) => {
        const [x, y] = [plot.data[0][idxs[column]], plot.data[column][idxs[column]]];
        if (column === 0 || series.isBand || typeof y !== "number") return [];
        return [{ text: `${series.label} ${number(y)} (${this.chart.x} ${number(x)})`, far: Math.abs(plot.valToPos(y, "y") - top) }];
      });
      points.sort((a, b) => a.far - b.far);
      this.readout.textContent = points.slice(0, 4).map((point) => point.text).join(" · ");
    }
  }

  const views = charts.map((chart, index) => new View(document.getElementById(`chart-${index}`), chart));
  const redraw = () => views.forEach((view) => view.redraw());
  addEventListener("beforeprint", () => views.forEach((view) => view.open()));
  theme.addEventListener("change", redraw);
  document.getElementById("smoothing")?.addEventListener("input", (event) => {
    smoothing = Number(event.target.value);
    event.target.setAttribute("aria-valuetext", smoothing === 0 ? "none" : String(smoothing));
    views.filter((view) => view.chart.lines.some((line) => line.smooth)).forEach((view) => view.redraw());
  });
  for (const box of document.querySelectorAll("input[data-run]")) {
    const apply = () => (box.checked ? hiddenRuns.delete(Number(box.dataset.run)) : hiddenRuns.add(Number(box.dataset.run)));
    // A browser that goes back to a page remembers its boxes.
    apply();
    box.addEventListener("change", () => { apply(); redraw(); });
  }
  if (hiddenRuns.size > 0) redraw();
})();
