// Curves of a page: drawn, hovered, zoomed, walked along by keyboard; runs and seeds chosen; watched runs asked for news.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg", COLORS = 7, DASHES = ["", "6 3", "2 3", "9 3 2 3"], ROWS = 12, NEAR = 8;
  const one = (query, root = document) => root.querySelector(query);
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const unique = (list) => [...new Set(list)];
  const state = { off: { spec: new Set(), dataset: new Set(), seed: new Set() }, y: null, x: "x", each: false, log: false, zoom: null };
  let data, charts = [];

  function made(name, attributes, parent, text) {
    const node = SHAPES.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  }
  const SHAPES = new Set(["svg", "g", "path", "line", "text", "circle", "rect", "clipPath", "defs"]);

  // Numbers

  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  function std(values) {
    const centre = mean(values);
    return values.length < 2 ? null : Math.sqrt(values.reduce((sum, v) => sum + (v - centre) ** 2, 0) / (values.length - 1));
  }
  function short(value, digits = 4) {
    if (Math.abs(value) >= 1e3 && Number.isInteger(value)) return value.toLocaleString("en-US");
    return String(Number(value.toPrecision(digits)));
  }
  const scored = () => state.y === "score" || state.y === "return";
  const written = (value) => (scored() ? value.toFixed(1) : short(value));
  function spread(values) {
    const deviation = std(values);
    if (deviation === null) return written(mean(values));
    return `${written(mean(values))} ± ${scored() ? deviation.toFixed(1) : short(deviation, 2)}`;
  }
  function ticks(low, high, count) {
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
    const found = [];
    if (!(step > 0) || Math.max(Math.abs(low), Math.abs(high)) / step > 1e12) return found;  // n would not grow any more
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) found.push(Number((n * step).toPrecision(12)));
    return found;
  }
  function powers(low, high) {
    const found = [];
    for (let power = Math.floor(low); power <= high; power++) found.push(...[1, 2, 5].map((digit) => digit * 10 ** power));
    const inside = found.filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
    return inside.length > 7 ? inside.filter((value) => Number.isInteger(Math.round(1e6 * Math.log10(value)) / 1e6)) : inside;
  }
  function tick(value) {
    const size = Math.abs(value);
    if (size >= 1e6) return `${Number((value / 1e6).toPrecision(6))}M`;
    return size && size < 1e-3 ? value.toExponential() : value.toLocaleString("en-US", { maximumFractionDigits: 6 });
  }

  // What is chosen

  const shownRun = (run) => !state.off.spec.has(run.spec) && !state.off.dataset.has(run.dataset);
  const kept = (run) => run.seeds.map((seed, place) => (state.off.seed.has(seed) ? -1 : place)).filter((place) => place >= 0);
  function look(curve) {
    const specs = unique(data.runs.map((run) => run.spec)), run = data.runs[curve.run];
    const names = unique(data.curves.filter((c) => !c.level).map((c) => c.step));
    const bySpec = specs.length > 1 || names.length > COLORS || names.length === 0;
    const place = bySpec ? specs.indexOf(run.spec) : names.indexOf(curve.step);
    const turn = Math.floor(place / COLORS) + (curve.dash ? 1 : 0);
    const plain = !bySpec && curve.level;
    return { color: plain ? "c6" : `c${place % COLORS}`, dash: curve.level ? "" : DASHES[turn % DASHES.length], bySpec };
  }
  function label(curve) {
    const run = data.runs[curve.run];
    return look(curve).bySpec ? `${run.spec}, ${curve.step}` : curve.step;
  }

  function filters() {
    const form = one("#filters");
    form.replaceChildren();
    form.onsubmit = (event) => event.preventDefault();
    const seeds = unique(data.runs.flatMap((run) => run.seeds)).sort((a, b) => a - b);
    const groups = [
      ["spec", "Specs", unique(data.runs.map((run) => run.spec))],
      ["dataset", "Datasets", unique(data.runs.map((run) => run.dataset))],
      ["seed", "Seeds", seeds],
    ].filter(([, , values]) => values.length > 1);
    form.hidden = !groups.length;
    for (const [key, name, values] of groups) {
      const field = made("fieldset", {}, form);
      made("legend", {}, field, name);
      values.forEach((value, place) => {
        const row = made("label", {}, field);
        const box = made("input", { type: "checkbox", id: `${key}-${place}`, "data-key": key, "data-value": value }, row);
        box.checked = !state.off[key].has(value);
        box.addEventListener("change", () => {
          state.off[key][box.checked ? "delete" : "add"](value);
          chosen();
        });
        if (key === "spec" && values.length > 1) made("span", { class: `swatch c${place % COLORS}` }, row);
        row.append(String(value));
      });
    }
    if (!groups.length) return;
    const everything = made("button", { type: "button", id: "everything" }, made("div", { class: "tools" }, form), "Show all");
    everything.addEventListener("click", () => {
      Object.values(state.off).forEach((set) => set.clear());
      all("input", form).forEach((box) => (box.checked = true));
      chosen();
    });
  }

  function chosen() {
    for (const node of all("main [data-spec], main [data-dataset], main [data-specs]")) {
      const { spec, dataset, specs } = node.dataset;
      const own = specs ? JSON.parse(specs) : [];
      node.hidden = state.off.spec.has(spec) || state.off.dataset.has(dataset)
        || (own.length > 0 && own.every((name) => state.off.spec.has(name)));
    }
    for (const cell of all("[data-values]")) numbers(cell);
    const note = one("#chosen"), seeds = unique(data.runs.flatMap((run) => run.seeds)).filter((seed) => !state.off.seed.has(seed));
    note.hidden = !state.off.seed.size;
    note.textContent = seeds.length
      ? `Numbers of one run and policy, and curves, are of the seeds ${seeds.sort((a, b) => a - b).join(", ")}; `
        + "averages over datasets, interquartile means, differences and notes are of all seeds."
      : "No seed is chosen.";
    draw();
  }

  function numbers(cell) {
    const number = one(".number", cell), below = one(".interval", cell);
    if (cell.whole === undefined) cell.whole = [number.textContent, below ? below.textContent : ""];
    const values = Object.entries(JSON.parse(cell.dataset.values)).filter(([seed]) => !state.off.seed.has(Number(seed))).map(([, v]) => v);
    const write = (text, interval) => {
      number.textContent = text;
      if (below) below.textContent = interval;
    };
    if (!state.off.seed.size) return write(...cell.whole);
    if (!values.length) return write("–", "");
    if (values.includes(null)) return write("nan", "");
    const centre = mean(values), deviation = std(values), form = cell.dataset.form;
    const fixed = (value) => (form === "score" ? value.toFixed(1) : short(value));
    if (deviation === null || (form === "clock" && deviation === 0)) return write(fixed(centre), "");
    const half = data.quantiles[values.length - 2] * deviation / Math.sqrt(values.length);
    write(
      `${fixed(centre)} ± ${form === "score" ? deviation.toFixed(1) : short(deviation, 2)}`,
      form === "score" && deviation > 0 ? `[${(centre - half).toFixed(1)}, ${(centre + half).toFixed(1)}]` : "",
    );
  }

  // Charts

  function tools() {
    const place = one("#charts");
    place.replaceChildren();
    if (!data.curves.length) return;
    const bar = made("div", { class: "tools" }, place);
    const pick = (id, text, entries, value, then) => {
      const row = made("label", {}, bar);
      made("span", {}, row, text);
      const list = made("select", { id }, row);
      for (const entry of entries) made("option", { value: entry.key }, list, entry.key.length > 1 ? entry.key : entry.text.split(",")[0]);
      list.value = value;
      list.addEventListener("change", () => then(list.value));
    };
    if (!data.quantities.some((entry) => entry.key === state.y)) state.y = data.quantities[0].key;
    if (!data.axes.some((entry) => entry.key === state.x)) state.x = "x";
    pick("quantity", "What", data.quantities, state.y, (value) => { state.y = value; draw(); });
    if (data.axes.length > 1) pick("axis", "over", data.axes, state.x, (value) => { state.x = value; state.zoom = null; draw(); });
    for (const [key, text] of [["each", "each seed"], ["log", "logarithmic"]]) {
      if (key === "each" && data.runs.every((run) => run.seeds.length < 2)) continue;
      const row = made("label", {}, bar), box = made("input", { type: "checkbox", id: key }, row);
      box.checked = state[key];
      row.append(text);
      box.addEventListener("change", () => { state[key] = box.checked; draw(); });
    }
    const button = (id, text, then) => made("button", { type: "button", id }, bar, text).addEventListener("click", then);
    button("closer", "Zoom in", () => zoom(0.5));
    button("farther", "Zoom out", () => zoom(2));
    button("whole", "Whole", () => { state.zoom = null; draw(); });
    made("p", { class: "note", id: "meaning" }, place);
    made("div", { id: "panels" }, place);
    made("p", { class: "note", id: "keys" }, place,
      "Drag to zoom, double-click for the whole. By keyboard: ← → along the curve, ↑ ↓ to another, + − to zoom, 0 for the whole.");
    made("p", { class: "note", id: "said", role: "status" }, place);
  }

  function span() {
    const ends = data.curves.filter((c) => c.y === state.y && !c.level && shownRun(data.runs[c.run])).flatMap((c) => c[state.x] || []);
    return ends.length ? [Math.min(...ends, state.x === "x" && Math.min(...ends) > 0 ? 0 : Infinity), Math.max(...ends)] : [0, 1];
  }
  function zoom(factor, centre) {
    const [low, high] = span(), [from, to] = state.zoom || [low, high];
    const middle = centre === undefined ? (from + to) / 2 : centre, half = (to - from) * factor;
    const begin = Math.max(low, middle - (middle - from) * factor), end = Math.min(high, begin + half);
    state.zoom = begin <= low && end >= high ? null : end - begin > 1e-6 * (high - low) ? [begin, end] : state.zoom;
    draw();
  }

  function draw() {
    const panels = one("#panels");
    if (!panels) return;
    const entry = data.quantities.find((one) => one.key === state.y);
    one("#meaning").textContent = state.y === "score" ? "Lines are means over seeds, bands their std; dashed level: fitted behaviour; ring: the next step begins."
      : `${entry.text}. Lines are means over seeds, bands their std.`;
    const focused = document.activeElement && document.activeElement.id;
    const places = new Map(charts.map((chart) => [chart.dataset, chart.place]));
    panels.replaceChildren();
    charts = [];
    const drawn = [], legend = made("p", { class: "legend", id: "legend" }, panels);
    for (const dataset of unique(data.runs.map((run) => run.dataset))) {
      const curves = data.curves.filter((c) => c.y === state.y && data.runs[c.run].dataset === dataset && shownRun(data.runs[c.run])
        && kept(data.runs[c.run]).length && (c.level || c[state.x]));
      if (curves.some((c) => !c.level)) drawn.push(...curves);
      if (curves.some((c) => !c.level)) charts.push(new Chart(panels, dataset, curves, charts.length, places.get(dataset)));
    }
    for (const curve of drawn) {
      const { color, dash, bySpec } = look(curve), text = bySpec ? data.runs[curve.run].spec : curve.step;
      if (curve.dash || (curve.level && bySpec) || [...legend.children].some((entry) => entry.textContent === text)) continue;
      const entry = made("span", {}, legend), line = made("svg", { width: 26, height: 10, "aria-hidden": "true" }, entry);
      made("path", { class: `curve ${color}${curve.level ? " level" : ""}`, "stroke-dasharray": dash || null, d: "M0,5H26" }, line);
      entry.append(text);
    }
    if (!charts.length) made("p", { class: "note" }, panels, "Nothing that is chosen has such a curve.");
    if (focused && focused.startsWith("chart-") && one(`#${focused}`)) one(`#${focused}`).focus({ preventScroll: true });
  }

  class Chart {
    constructor(parent, dataset, curves, number, place) {
      this.dataset = dataset;
      this.curves = curves.map((c) => this.prepared(c));
      const figure = made("figure", { "data-chart": dataset }, parent);
      made("figcaption", {}, figure, `${dataset}: ${state.y === "score" ? data.units[dataset] : state.y.replaceAll("_", " ")}`);
      this.box = made("div", { class: "chart" }, figure);
      this.width = Math.max(260, this.box.clientWidth);
      this.height = this.width < 560 ? 280 : 360;
      this.edge = { left: 58, right: 26, top: 10, bottom: 40 };
      this.svg = made("svg", {
        id: `chart-${number}`, tabindex: 0, role: "application", viewBox: `0 0 ${this.width} ${this.height}`, height: this.height,
        "aria-roledescription": "chart", "aria-label": this.told(), "aria-describedby": "keys",
      }, this.box);
      this.frame();
      this.lines();
      this.over = made("g", {}, this.svg);
      this.tip = made("div", { class: "tip" }, this.box);
      this.tip.hidden = true;
      this.place = place || { at: null, curve: 0 };
      this.listen();
    }
    prepared(curve) {
      const rows = kept(data.runs[curve.run]);
      const values = curve.v.map((row) => rows.map((place) => row[place])).map((own) => (own.includes(null) ? [] : own));  // of all seeds, or none
      return { ...curve, ...look(curve), label: label(curve), at: curve.level ? null : curve[state.x], values, rows };
    }
    told() {
      const ends = this.curves.filter((c) => !c.level && c.values[c.values.length - 1].length).map((c) => `${c.label} ends at ${spread(c.values[c.values.length - 1])}`);
      return `${state.y.replaceAll("_", " ")} on ${this.dataset}: ${ends.slice(0, ROWS).join("; ")}`;
    }
    drawable(value) {
      return !state.log || value > 0;
    }
    frame() {
      const { left, right, top, bottom } = this.edge;
      const [from, to] = state.zoom || span();
      const seen = [];
      for (const c of this.curves) c.values.forEach((values, i) => {
        if (!values.length || (!c.level && (c.at[i] < from || c.at[i] > to))) return;
        const centre = mean(values), deviation = std(values) || 0;
        seen.push(centre - deviation, centre + deviation, ...(state.each ? values : []));
      });
      const scale = state.log ? Math.log10 : (value) => value, scaled = seen.filter(this.drawable).map(scale);
      let low = Math.min(...scaled), high = Math.max(...scaled);
      if (!scaled.length) [low, high] = [0, 1];
      if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high))) low = high = (low + high) / 2;  // equal but for roundings
      const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
      [low, high] = [low - pad, high + pad];
      this.x = (value) => left + (value - from) / (to - from || 1) * (this.width - left - right);
      this.back = (pixel) => from + (pixel - left) / (this.width - left - right) * (to - from);
      this.y = (value) => this.height - bottom - (scale(value) - low) / (high - low) * (this.height - top - bottom);
      [this.from, this.to] = [from, to];
      const clip = made("clipPath", { id: `${this.svg.id}-clip` }, made("defs", {}, this.svg));
      made("rect", { x: left, y: top, width: this.width - left - right, height: this.height - top - bottom }, clip);
      for (const value of state.log ? powers(low, high) : ticks(low, high, 5)) {
        made("line", { class: "grid", x1: left, x2: this.width - right, y1: this.y(value), y2: this.y(value) }, this.svg);
        made("text", { x: left - 8, y: this.y(value) + 4, "text-anchor": "end" }, this.svg, tick(value));
      }
      for (const value of ticks(from, to, this.width < 560 ? 3 : 6)) {
        made("line", { class: "axis", x1: this.x(value), x2: this.x(value), y1: this.height - bottom, y2: this.height - bottom + 5 }, this.svg);
        made("text", { x: this.x(value), y: this.height - bottom + 19, "text-anchor": "middle" }, this.svg, tick(value));
      }
      made("line", { class: "axis", x1: left, x2: this.width - right, y1: this.height - bottom, y2: this.height - bottom }, this.svg);
      const name = data.axes.find((entry) => entry.key === state.x).text.split(",")[0];
      made("text", { x: (left + this.width - right) / 2, y: this.height - 5, "text-anchor": "middle" }, this.svg, name);
      this.unit = name;
    }
    lines() {
      const area = made("g", { "clip-path": `url(#${this.svg.id}-clip)` }, this.svg);
      const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");
      const known = (c) => c.values.map((values, i) => [i, values]).filter(([, values]) => values.length && this.drawable(mean(values)));
      for (const c of this.curves) {
        if (c.level) continue;
        const wide = known(c).filter(([, values]) => values.length > 1);
        const end = (centre, far) => (this.drawable(centre + far) ? centre + far : centre / 100);
        const ends = (sign) => wide.map(([i, values]) => [this.x(c.at[i]), this.y(end(mean(values), sign * std(values)))]);
        if (wide.length > 1) c.band = made("path", { class: `band ${c.color}`, d: `${path(ends(1))}${path(ends(-1).reverse()).replace("M", "L")}Z` }, area);
      }
      for (const c of this.curves) {
        if (c.level) {
          if (!c.values[0].length || !this.drawable(mean(c.values[0]))) continue;
          const y = this.y(mean(c.values[0]));
          c.line = made("path", { class: `curve level ${c.color}`, d: path([[this.x(this.from), y], [this.x(this.to), y]]) }, area);
          continue;
        }
        if (state.each) c.rows.forEach((row) => {
          const points = c.v.map((values, i) => [i, values[row]]).filter(([, value]) => value !== null && this.drawable(value));
          made("path", { class: `curve seed ${c.color}`, d: path(points.map(([i, value]) => [this.x(c.at[i]), this.y(value)])) }, area);
        });
        const points = known(c).map(([i, values]) => [this.x(c.at[i]), this.y(mean(values))]);
        c.line = made("path", { class: `curve ${c.color}`, "stroke-dasharray": c.dash || null, d: path(points) }, area);
        if (points.length === 1) made("circle", { class: `dot ${c.color}`, cx: points[0][0], cy: points[0][1], r: 4 }, area);
        if (c.seam && points.length) made("circle", { class: `seam ${c.color}`, cx: points[0][0], cy: points[0][1], r: 4 }, area);
      }
    }

    // Hover and keys

    stops() {
      return unique(this.curves.filter((c) => !c.level).flatMap((c) => c.at)).filter((at) => at >= this.from && at <= this.to).sort((a, b) => a - b);
    }
    nearest(list, value) {
      return list.reduce((best, at) => (Math.abs(at - value) < Math.abs(best - value) ? at : best), list[0]);
    }
    when(at) {
      return this.unit === "updates" ? `${short(at, 6)} updates` : `${this.unit} ${short(at, 4)}`;
    }
    rows(at) {
      const found = [];
      for (const c of this.curves) {
        if (c.level) {
          if (c.values[0].length) found.push({ c, values: c.values[0], at: null });
          continue;
        }
        if (at < c.at[0] || at > c.at[c.at.length - 1]) continue;
        const i = c.at.indexOf(this.nearest(c.at, at));
        if (c.values[i].length && !(c.seam && i === 0)) found.push({ c, values: c.values[i], at: c.at[i] });
      }
      return found.sort((a, b) => mean(b.values) - mean(a.values));
    }
    show(at, strong) {
      this.place.at = at;
      this.over.replaceChildren();
      this.tip.replaceChildren();
      const x = this.x(at), rows = this.rows(at);
      made("line", { class: "cursor", x1: x, x2: x, y1: this.edge.top, y2: this.height - this.edge.bottom }, this.over);
      made("b", {}, this.tip, this.when(at));
      for (const { c, values, at: own } of rows.slice(0, ROWS)) {
        if (own !== null && this.drawable(mean(values))) made("circle", { class: `dot ${c.color}`, cx: this.x(own), cy: this.y(mean(values)), r: c === strong ? 6 : 4 }, this.over);
        const row = made("span", { class: c === strong ? "row strong" : "row" }, this.tip);
        made("span", { class: `swatch ${c.color}` }, row);
        made("span", {}, row, c.label);
        made("span", { class: "value" }, row, spread(values));
      }
      if (rows.length > ROWS) made("span", {}, this.tip, `and ${rows.length - ROWS} more`);
      this.curves.forEach((c) => {
        if (c.line) c.line.classList.toggle("strong", c === strong);
        for (const part of [c.line, c.band]) if (part) part.classList.toggle("faint", Boolean(strong) && c !== strong);
      });
      this.tip.hidden = false;
      const room = this.box.clientWidth - this.tip.offsetWidth, left = x + 14 > room ? x - this.tip.offsetWidth - 14 : x + 14;
      this.tip.style.left = `${Math.max(0, Math.min(room, left))}px`;
      const tops = rows.filter((row) => row.at !== null).map((row) => mean(row.values)).filter(this.drawable).map(this.y);  // away from the curves
      const low = this.height - this.edge.bottom - this.tip.offsetHeight - 6;
      this.tip.style.top = `${tops.length && mean(tops) < this.height / 2 ? Math.max(low, this.edge.top) : this.edge.top}px`;
    }
    hide() {
      this.over.replaceChildren();
      this.tip.hidden = true;
      this.curves.forEach((c) => [c.line, c.band].forEach((part) => part && part.classList.remove("faint", "strong")));
    }
    listen() {
      const at = (event) => (event.clientX - this.svg.getBoundingClientRect().left) * this.width / this.svg.getBoundingClientRect().width;
      let begun = null, brush = null;
      this.svg.addEventListener("pointermove", (event) => {
        const stops = this.stops(), x = at(event);
        if (begun !== null) {
          brush = brush || made("rect", { class: "brush", y: this.edge.top, height: this.height - this.edge.top - this.edge.bottom }, this.svg);
          brush.setAttribute("x", Math.min(begun, x));
          brush.setAttribute("width", Math.abs(x - begun));
        }
        if (stops.length) this.show(this.nearest(stops, this.back(x)));
      });
      this.svg.addEventListener("pointerdown", (event) => {
        if (event.pointerType !== "mouse" || event.button !== 0) return;
        begun = at(event);
        this.svg.setPointerCapture(event.pointerId);
      });
      this.svg.addEventListener("pointerup", (event) => {
        const x = at(event), [low, high] = [begun, x].map((p) => this.back(p)).sort((a, b) => a - b), far = begun !== null && Math.abs(x - begun) > NEAR;
        begun = null;
        if (brush) brush.remove();
        brush = null;
        if (far) { state.zoom = [Math.max(low, this.from), Math.min(high, this.to)]; draw(); }
      });
      this.svg.addEventListener("pointerleave", () => { if (begun === null) this.hide(); });
      this.svg.addEventListener("blur", () => this.hide());
      this.svg.addEventListener("dblclick", () => { state.zoom = null; draw(); });
      this.svg.addEventListener("wheel", (event) => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        zoom(event.deltaY < 0 ? 0.7 : 1.4, this.back(at(event)));
      }, { passive: false });
      this.svg.addEventListener("keydown", (event) => this.key(event));
    }
    key(event) {
      const stops = this.stops(), own = this.curves.filter((c) => !c.level), { key } = event;
      const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
      if (key === "+" || key === "=") zoom(0.5, this.place.at ?? undefined);
      else if (key === "-") zoom(2, this.place.at ?? undefined);
      else if (key === "0") { state.zoom = null; draw(); }
      else if (key === "Escape") this.hide();
      else if (key in moves || key === "ArrowUp" || key === "ArrowDown") {
        if (!stops.length) return;
        const before = this.place.at === null ? -1 : stops.indexOf(this.nearest(stops, this.place.at));
        const along = before < 0 && key !== "End" ? 0 : before + (moves[key] || 0);
        const at = stops[Math.max(0, Math.min(stops.length - 1, along))];
        const turn = key === "ArrowUp" ? -1 : key === "ArrowDown" ? 1 : 0;
        this.place.curve = (this.place.curve + turn + own.length) % own.length;
        this.walk(at, own);
      } else return;
      event.preventDefault();
    }
    walk(at, own) {
      const there = this.rows(at).filter((row) => row.at !== null).map((row) => row.c);
      const wanted = own[this.place.curve], strong = there.includes(wanted) ? wanted : there[0];
      this.show(at, strong);
      const row = this.rows(at).find((found) => found.c === strong);
      if (row) one("#said").textContent = `${strong.label}, ${this.when(row.at)}: ${state.y.replaceAll("_", " ")} ${spread(row.values)}`;
    }
  }

  // Runs that are watched

  async function news() {
    const told = one("#news");
    try {
      const version = await (await fetch("version", { cache: "no-store" })).text();
      if (told) told.textContent = `Looks for news every ${data.every} s.`;
      if (version === data.version) return;
      const text = await (await fetch("./", { cache: "no-store" })).text();
      swap(new DOMParser().parseFromString(text, "text/html"));
    } catch {
      if (told) told.textContent = "pogospec watch does not answer any more: this is how it was then.";
    }
  }
  function swap(fresh) {
    const focused = document.activeElement && document.activeElement.id;
    const title = (node) => `${node.closest("section")?.id} ${one("summary", node).textContent}`;
    const open = new Set(all("details[open]").map(title)), known = new Set(all("details").map(title));
    for (const query of ["header", "main", "#numbers"]) one(query).replaceWith(document.importNode(one(query, fresh), true));
    all("details").forEach((node) => { if (known.has(title(node))) node.open = open.has(title(node)); });
    start();
    if (focused && one(`#${CSS.escape(focused)}`)) one(`#${CSS.escape(focused)}`).focus({ preventScroll: true });
  }

  function start() {
    data = JSON.parse(one("#numbers").textContent);
    const specs = unique(data.runs.map((run) => run.spec));
    if (specs.length > 1) all(".swatch[data-run]").forEach((node) => node.classList.add(`c${specs.indexOf(data.runs[node.dataset.run].spec) % COLORS}`));
    filters();
    tools();
    chosen();
  }

  document.documentElement.classList.add("js");
  start();
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
  if (data.every) setInterval(news, 1000 * data.every);
})();
