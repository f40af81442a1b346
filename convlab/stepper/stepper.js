// Draws a trace (see __init__.py): input, kernel, im2col matrix and output side by side, one window lit in all of them.
//
// A Stepper never computes what it shows: it gives a setting of the sliders to `ask`, and whoever holds the numbers calls
// `show` with the trace. On a page from disk that is `read`, out of the book that the page carries; in a notebook, Python.
// Its own sums only check the engine's (`verify`).

const LABELS = {
  height: "Input height",
  width: "Input width",
  kernel_height: "Kernel height",
  kernel_width: "Kernel width",
  stride: "Stride",
  padding: "Padding",
  dilation: "Dilation",
  groups: "Groups",
};

const PACE = 700; // milliseconds from window to window while playing

// ---------------------------------------------------------------- numbers

/** Return the trace of a setting, out of the book. */
export function read(book, setting) {
  const { height, width, kernel_height, kernel_width, stride, padding, dilation, groups } = setting;
  const key = (...values) => values.join(",");
  const rows = book.rows[key(height, kernel_height, stride, padding, dilation)];
  const columns = book.columns[key(width, kernel_width, stride, padding, dilation)];
  const error = rows.error ?? columns.error;
  if (error) return { setting, error };
  const y = book.y[key(height, width, kernel_height, kernel_width, dilation, groups)];
  const corner = (array, h, w) => array.slice(0, h).map((row) => row.slice(0, w));
  return {
    setting,
    rows,
    columns,
    x: corner(book.x, height, width),
    w: corner(book.w[groups], kernel_height, kernel_width),
    y: rows.taps.map(([p]) => columns.taps.map(([q]) => y[p + book.reach][q + book.reach])),
    costs: book.costs[key(kernel_height, kernel_width, rows.output, columns.output)],
  };
}

/** Return x at row p, column q of channel c: a zero in the padding. */
const at = (x, p, q, c) => x[p]?.[q]?.[c] ?? 0;

/** Return the first channel that filter o reads, and how many it reads. */
function channelsOf(trace, o) {
  const count = trace.w[0][0].length;
  return { first: Math.floor((o * trace.setting.groups) / trace.setting.filters) * count, count };
}

/** Return the weight of filter o at tap (m, n) of channel c; null where its group does not read the channel. */
function weight(trace, m, n, c, o) {
  const { first, count } = channelsOf(trace, o);
  return c < first || c >= first + count ? null : trace.w[m][n][c - first][o];
}

/** Return window (i, j) as a row of the im2col matrix: its taps in the order of the weights (KH, KW, C). */
function windowOf(trace, i, j) {
  const taps = [];
  trace.rows.taps[i].forEach((p, m) =>
    trace.columns.taps[j].forEach((q, n) => {
      for (let c = 0; c < trace.setting.channels; c++) taps.push({ m, n, c, x: at(trace.x, p, q, c) });
    }),
  );
  return taps;
}

/** Sum every output up again; return the weights and multiplications counted, and where the engine's numbers differ. */
function verify(trace) {
  const errors = [];
  let macs = 0;
  trace.y.forEach((row, i) =>
    row.forEach((pixel, j) => {
      const taps = windowOf(trace, i, j);
      pixel.forEach((y, o) => {
        let sum = 0;
        for (const { m, n, c, x } of taps) {
          const w = weight(trace, m, n, c, o);
          if (w !== null) {
            sum += x * w;
            macs++;
          }
        }
        if (sum !== y) errors.push(`output row ${i}, column ${j}, filter ${o}: the page sums to ${sum}, the engine says ${y}`);
      });
    }),
  );
  const params = trace.w.flat(3).length;
  const cost = trace.costs.find(({ groups }) => groups === trace.setting.groups);
  if (params !== cost.params) errors.push(`parameters: the page counts ${params}, the engine says ${cost.params}`);
  if (macs !== cost.macs) errors.push(`MACs: the page counts ${macs}, the engine says ${cost.macs}`);
  return { params, macs, errors };
}

// ---------------------------------------------------------------- pieces of the page

/** Make an element: its attributes (those that are false are left out), then its children. */
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "circle"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

const english = new Intl.NumberFormat("en"); // made once: thousands of cells need it
const number = (value) => english.format(value).replace("-", "−");
const factor = (value) => (value < 0 ? `(${number(value)})` : number(value));
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
const range = (count) => Array.from({ length: count }, (_, i) => i);
const times = (...sizes) => sizes.join("x");

/** Draw which channels each filter reads, as lines from inputs to outputs; the lines of filter `lit` stand out. */
function wiring(channels, filters, groups, lit = null) {
  const height = Math.max(8 * Math.max(channels, filters), 48);
  const y = (index, count) => ((index + 0.5) * height) / count;
  const label = `${plural(channels, "input channel")} and ${plural(filters, "filter")} in ${plural(groups, "group")}`;
  const svg = make("svg", { viewBox: `0 0 120 ${height}`, width: 120, height, role: "img", "aria-label": label, class: "wiring" });
  for (const o of range(filters)) {
    const group = Math.floor((o * groups) / filters);
    for (const c of range(channels)) {
      if (Math.floor((c * groups) / channels) !== group) continue;
      svg.append(make("line", { x1: 12, y1: y(c, channels), x2: 108, y2: y(o, filters), class: o === lit ? "lit" : "" }));
    }
  }
  for (const c of range(channels)) svg.append(make("circle", { cx: 12, cy: y(c, channels), r: 3.5, class: "in" }));
  for (const o of range(filters)) svg.append(make("circle", { cx: 108, cy: y(o, filters), r: 3.5, class: o === lit ? "out lit" : "out" }));
  return svg;
}

const ICONS = {
  first: "M3 3h2v10H3zM13 3v10L6 8z",
  back: "M11 3v10L4 8z",
  play: "M4 3v10l8-5z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  on: "M5 3v10l7-5z",
  last: "M11 3h2v10h-2zM3 3v10l7-5z",
};

const icon = (name) => make("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, make("path", { d: ICONS[name] }));

/** Draw a share as a bar. */
const bar = (part, whole) => make("span", { class: "bar", "aria-hidden": "true" }, make("i", { style: `width:${(100 * part) / whole}%` }));

/** Make the grid of one channel or filter, its rows given as arrays of cells. */
function plane(name, ...rows) {
  const body = make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells)));
  return make("figure", { class: "plane" }, make("figcaption", {}, name), make("table", { class: "grid", "aria-label": name }, body));
}

/** Make a card of the stage. */
function card(name, title, ...children) {
  return make("section", { class: `card ${name}`, "aria-label": title }, make("h2", {}, title), ...children);
}

// ---------------------------------------------------------------- the page

export class Stepper {
  /** Build the page in `root`; `ask(setting)` must end in `show(trace)`. */
  constructor(root, options, ask) {
    this.options = options;
    this.setting = { ...options.start };
    this.source = ask;
    this.position = 0; // of the window: row by row through the output
    this.filter = 0;
    this.pinned = false;
    this.timer = null;
    this.root = root;
    root.classList.add("convlab-stepper");
    root.append(
      make(
        "header",
        {},
        make("h1", {}, "Step through a convolution"),
        make(
          "p",
          {},
          "One window of the input is one row of the im2col matrix. Multiplied with a filter and summed up, it is one number of the output. ",
          "Groups slide from the standard convolution to the depthwise one.",
        ),
      ),
      make("div", { class: "top" }, this.buildControls(), this.buildCosts()),
      (this.alert = make("div", { class: "alert", role: "alert" })),
      this.buildPlayer(),
      this.buildStage(),
      (this.sum = card("sum", "The sum, written out")),
      this.buildExamples(),
    );
  }

  /** Ask for the trace of where the sliders stand. */
  ask() {
    this.source({ ...this.setting });
  }

  // ------------------------------------------------------------ built once

  buildControls() {
    const box = make("fieldset", { class: "card controls" }, make("legend", {}, "Setting"));
    for (const [name, values] of Object.entries(this.options.sliders)) {
      const shown = make("span", { class: "now" });
      const slider = make("input", {
        type: "range",
        name,
        min: 0,
        max: values.length - 1,
        step: 1,
        disabled: values.length === 1,
        "aria-label": LABELS[name],
        oninput: () => {
          this.setting[name] = values[slider.value];
          tell();
          this.ask();
        },
      });
      const tell = () => {
        const value = String(this.setting[name]);
        shown.textContent = value;
        slider.setAttribute("aria-valuetext", value);
      };
      slider.value = values.indexOf(this.setting[name]);
      tell();
      box.append(make("label", {}, make("span", {}, LABELS[name]), shown, slider));
    }
    const { channels, filters } = this.setting;
    const stops = this.options.sliders.groups.join(", ");
    this.shape = make("p", { class: "shape" });
    box.append(
      make("p", { class: "note" }, `Groups must divide ${plural(channels, "channel")} and ${plural(filters, "filter")}: ${stops}.`),
      this.shape,
    );
    return box;
  }

  buildCosts() {
    this.wiring = make("div", {});
    this.costs = make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": "Cost at each number of groups" });
    this.counted = make("p", { class: "note" });
    return card("costs", "What it costs", make("div", { class: "beside" }, this.wiring, this.costs), this.counted);
  }

  buildPlayer() {
    const button = (label, name, onclick) => make("button", { type: "button", "aria-label": label, title: label, onclick }, icon(name));
    this.play = make("button", { type: "button", class: "play", onclick: () => this.toggle() }, icon("play"), "Play");
    this.pin = make("button", { type: "button", "aria-pressed": "false", onclick: () => this.setPin(!this.pinned) }, "Pin");
    this.time = make("input", { type: "range", min: 0, step: 1, name: "window", "aria-label": "Window", oninput: () => this.go(+this.time.value) });
    this.timeShown = make("span", { class: "now" });
    this.which = make("input", {
      type: "range",
      min: 0,
      max: this.setting.filters - 1,
      step: 1,
      name: "filter",
      value: 0,
      disabled: this.setting.filters === 1,
      "aria-label": "Filter",
      oninput: () => this.choose(+this.which.value),
    });
    this.whichShown = make("span", { class: "now" });
    this.status = make("p", { class: "status", role: "status", "aria-live": "polite" });
    return make(
      "section",
      { class: "card player", "aria-label": "Player" },
      make(
        "div",
        { class: "buttons", role: "group", "aria-label": "Move the window" },
        button("First window", "first", () => this.go(0)),
        button("Previous window", "back", () => this.go(this.position - 1)),
        this.play,
        button("Next window", "on", () => this.go(this.position + 1)),
        button("Last window", "last", () => this.go(this.last)),
        this.pin,
      ),
      make("label", { class: "time" }, make("span", {}, "Window"), this.timeShown, this.time),
      make("label", {}, make("span", {}, "Filter"), this.whichShown, this.which),
      this.status,
    );
  }

  buildStage() {
    this.input = make("div", { class: "grids" });
    this.legend = make("p", { class: "note legend" });
    this.kernel = make("div", { class: "grids" });
    this.output = make("div", { class: "grids" });
    this.matrix = make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": "im2col matrix, scrolls" });
    this.titles = {};
    const part = (name, title, ...body) => {
      const section = card(name, title, ...body);
      this.titles[name] = section.querySelector("h2");
      return section;
    };
    const id = `keys-${Math.random().toString(36).slice(2)}`; // a notebook may show several steppers
    const keys = "Arrow keys, Home and End move the window; Page Up and Page Down change the filter; Enter pins it, Escape lets go.";
    const inWords = "A row for each window, a column for each tap and channel; on top the filter, at the end the output.";
    this.stage = make(
      "div",
      {
        class: "stage",
        role: "group",
        tabindex: 0,
        "aria-label": "Input, kernel, matrix and output",
        "aria-describedby": id,
        onkeydown: (event) => this.key(event),
        onpointermove: (event) => this.hover(event), // not pointerover: a page redrawn under a resting pointer must not move the window
        onclick: (event) => this.click(event),
      },
      part("input", "Input", this.input, this.legend),
      part("kernel", "Kernel", this.kernel),
      part("matrix", "im2col matrix", make("p", { class: "note" }, inWords), this.matrix),
      part("output", "Output", this.output),
    );
    return make(
      "div",
      {},
      this.stage,
      make("p", { class: "note", id }, `Point at an input, a row or an output to move the window; click to pin it. ${keys}`),
    );
  }

  buildExamples() {
    const example = ({ title, result, kinds }) => {
      const most = Math.max(...kinds.map(({ macs }) => macs));
      const box = ({ kind, channels, filters, groups, params, macs }) => {
        const parts = kind === "separable" ? [wiring(channels, channels, channels), wiring(channels, filters, 1)] : [wiring(channels, filters, groups)];
        return make(
          "li",
          { class: "kind", "data-kind": kind },
          make("h4", {}, kind),
          make("div", { class: "parts" }, ...parts),
          make("p", {}, make("b", {}, number(macs)), " MACs"),
          bar(macs, most),
          make("p", { class: "note" }, plural(params, "parameter")),
        );
      };
      return make("div", { class: "example" }, make("h3", {}, title), make("ul", {}, ...kinds.map(box)), make("p", { class: "result" }, result));
    };
    return card("examples", "Standard, depthwise, pointwise, separable", ...this.options.examples.map(example));
  }

  // ------------------------------------------------------------ drawn for each trace

  /** Draw a trace; one that the sliders have left behind is dropped. */
  show(trace) {
    if (Object.keys(LABELS).some((name) => trace.setting[name] !== this.setting[name])) return;
    const before = this.trace && !this.trace.error ? this.place : { i: 0, j: 0 };
    this.trace = trace;
    this.alert.replaceChildren();
    this.root.classList.toggle("empty", Boolean(trace.error));
    if (trace.error) {
      this.stop();
      this.shape.textContent = "No output.";
      this.alert.append(make("p", {}, trace.error));
      return;
    }
    const { params, macs, errors } = verify(trace);
    if (errors.length) {
      this.alert.append(make("p", {}, `${plural(errors.length, "number")} of the page and of the engine differ. ${errors[0]}`));
    }
    this.drawShape();
    this.drawCosts(params, macs, errors.length === 0);
    this.drawInput();
    this.drawMatrix();
    this.drawOutput();
    this.time.max = this.last;
    this.time.disabled = this.last === 0;
    // Stay at the same output where there still is one.
    const i = Math.min(before.i, trace.rows.output - 1);
    const j = Math.min(before.j, trace.columns.output - 1);
    this.position = i * trace.columns.output + j;
    this.choose(this.filter);
  }

  drawShape() {
    const { rows, columns, setting } = this.trace;
    const line = (name, a) => {
      const size = `${name} ⌊(${a.input} + ${a.before} + ${a.after} − ${a.extent}) / ${a.stride}⌋ + 1 = ${a.output}`;
      return make("span", {}, size + (a.unread ? ` (${a.unread} unread)` : ""));
    };
    this.shape.replaceChildren(
      make("b", {}, `Output ${times(rows.output, columns.output, setting.filters)}`),
      line("height", rows),
      line("width", columns),
    );
  }

  drawCosts(params, macs, right) {
    const { costs, setting } = this.trace;
    const most = costs[0].macs;
    const head = ["groups", "kind", "params", "MACs", ""].map((text) => make("th", { scope: "col" }, text));
    const rows = costs.map(({ groups, kind, params, macs }) =>
      make(
        "tr",
        groups === setting.groups ? { "aria-current": "true", "data-groups": groups } : { "data-groups": groups },
        make("th", { scope: "row" }, number(groups)),
        make("td", { class: "word" }, kind),
        make("td", {}, number(params)),
        make("td", {}, number(macs)),
        make("td", { class: "wide" }, bar(macs, most)),
      ),
    );
    this.costs.replaceChildren(
      make(
        "table",
        {},
        make("caption", {}, "Parameters and multiply-accumulates by groups"),
        make("thead", {}, make("tr", {}, ...head)),
        make("tbody", {}, ...rows),
      ),
    );
    const found = `Counted on this page: ${plural(params, "weight")}, ${plural(macs, "multiplication")}`;
    this.counted.textContent = right ? `${found}, as the engine says. ✓` : `${found}.`;
  }

  drawInput() {
    const { rows, columns, setting, x } = this.trace;
    const most = Math.max(1, ...x.flat(2));
    const ends = (axis) => axis.before + axis.input + axis.after - axis.unread;
    this.titles.input.textContent = `Input ${times(setting.height, setting.width, setting.channels)}`;
    this.inputCells = [];
    const widest = columns.before + setting.width + columns.after;
    this.input.style.setProperty("--cell", `${widest > 9 ? 1.05 : widest > 7 ? 1.25 : 1.4}rem`);
    const grid = (c) => {
      const cells = range(rows.before + setting.height + rows.after).map((r) =>
        range(widest).map((s) => {
          const [p, q] = [r - rows.before, s - columns.before];
          const inside = p >= 0 && p < setting.height && q >= 0 && q < setting.width;
          const unread = r >= ends(rows) || s >= ends(columns);
          const value = at(x, p, q, c);
          const kind = [inside ? "value" : "pad", unread ? "unread" : ""].join(" ").trim();
          const why = [inside ? "" : "padding", unread ? "no window reads it" : ""].filter(Boolean).join(", ");
          return make("td", { class: kind, "data-p": p, "data-q": q, title: why || undefined, style: `--v:${inside ? value / most : 0}` }, number(value));
        }),
      );
      this.inputCells.push(cells);
      return plane(`channel ${c}`, ...cells);
    };
    this.input.replaceChildren(...range(setting.channels).map(grid));
    const signs = [
      [this.input.querySelector(".pad"), "Dashed: the padding's zeros."],
      [this.input.querySelector(".unread"), "Hatched: no window reads it."],
    ];
    this.legend.textContent = signs.flatMap(([found, text]) => (found ? [text] : [])).join(" ");
  }

  drawKernel() {
    const { setting } = this.trace;
    const { kernel_height: kh, kernel_width: kw, channels } = setting;
    this.titles.kernel.textContent = `Kernel ${times(kh, kw)}, filter ${this.filter}`;
    const grid = (c) => {
      const read = weight(this.trace, 0, 0, c, this.filter) !== null;
      const cell = (m, n) => make("td", { class: "weight" }, read ? number(weight(this.trace, m, n, c, this.filter)) : "·");
      const cells = range(kh).map((m) => range(kw).map((n) => cell(m, n)));
      const drawn = plane(`channel ${c}`, ...cells);
      drawn.classList.toggle("dropped", !read);
      return drawn;
    };
    this.kernel.replaceChildren(...range(channels).map(grid));
  }

  drawMatrix() {
    const { rows, columns, setting, x } = this.trace;
    const { kernel_height: kh, kernel_width: kw, channels } = setting;
    const most = Math.max(1, ...x.flat(2));
    this.titles.matrix.textContent = `im2col matrix ${times(rows.output * columns.output, kh * kw * channels)}`;
    const taps = range(kh).flatMap((m) => range(kw).map((n) => make("th", { scope: "colgroup", colspan: channels, class: "tap" }, `${m},${n}`)));
    this.filterCells = range(kh * kw * channels).map((k) => make("td", { class: k % channels ? "weight" : "weight start" }));
    this.matrixRows = [];
    this.matrixCells = [];
    this.matrixSums = [];
    for (const i of range(rows.output)) {
      for (const j of range(columns.output)) {
        const cells = windowOf(this.trace, i, j).map(({ c, x: value }) =>
          make("td", { class: c ? "value" : "value start", style: `--v:${value / most}` }, number(value)),
        );
        const sum = make("td", { class: "y" });
        const row = make("tr", { "data-i": i, "data-j": j }, make("th", { scope: "row" }, `${i},${j}`), ...cells, sum);
        this.matrixRows.push(row);
        this.matrixCells.push(cells);
        this.matrixSums.push(sum);
      }
    }
    this.matrix.replaceChildren(
      make(
        "table",
        { class: "grid", "aria-label": "im2col matrix" },
        make(
          "thead",
          {},
          make("tr", {}, make("th", { scope: "col" }, "tap"), ...taps, make("th", { scope: "col", class: "y", rowspan: 2 }, "y")),
          make("tr", { class: "filter" }, make("th", { scope: "row" }, "filter"), ...this.filterCells),
        ),
        make("tbody", {}, ...this.matrixRows),
      ),
    );
  }

  drawOutput() {
    const { rows, columns, setting, y } = this.trace;
    this.titles.output.textContent = `Output ${times(rows.output, columns.output, setting.filters)}`;
    this.outputCells = [];
    this.outputGrids = range(setting.filters).map((o) => {
      const cells = y.map((row, i) => row.map((pixel, j) => make("td", { "data-i": i, "data-j": j, "data-o": o }, number(pixel[o]))));
      this.outputCells.push(cells);
      return plane(`filter ${o}`, ...cells);
    });
    this.output.style.setProperty("--cell", columns.output > 5 ? "1.15rem" : "1.4rem");
    this.output.replaceChildren(...this.outputGrids);
  }

  /** Change the filter: what depends on it is the kernel, the matrix's first row and last column, and the wiring. */
  choose(filter) {
    if (this.trace.error) return;
    const { setting, y } = this.trace;
    this.filter = Math.max(0, Math.min(filter, setting.filters - 1));
    this.which.value = this.filter;
    this.whichShown.textContent = String(this.filter);
    this.which.setAttribute("aria-valuetext", `filter ${this.filter}`);
    this.drawKernel();
    this.wiring.replaceChildren(wiring(setting.channels, setting.filters, setting.groups, this.filter));
    const { first, count } = channelsOf(this.trace, this.filter);
    const read = (c) => c >= first && c < first + count;
    this.input.childNodes.forEach((grid, c) => grid.classList.toggle("dropped", !read(c)));
    this.outputGrids.forEach((grid, o) => grid.classList.toggle("chosen", o === this.filter));
    windowOf(this.trace, 0, 0).forEach(({ m, n, c }, k) => {
      const w = weight(this.trace, m, n, c, this.filter);
      this.filterCells[k].textContent = w === null ? "·" : number(w);
      for (const cell of [this.filterCells[k], ...this.matrixCells.map((cells) => cells[k])]) cell.classList.toggle("dropped", !read(c));
    });
    y.flat().forEach((pixel, position) => (this.matrixSums[position].textContent = number(pixel[this.filter])));
    this.move(this.position);
  }

  // ------------------------------------------------------------ drawn for each move

  get last() {
    return this.trace.rows.output * this.trace.columns.output - 1;
  }

  /** Row and column of the output where the window stands. */
  get place() {
    const width = this.trace.columns.output;
    return { i: Math.floor(this.position / width), j: this.position % width };
  }

  /** Move the window by hand, which ends the playing. */
  go(position) {
    this.stop();
    this.move(position);
  }

  move(position) {
    if (this.trace.error) return;
    const { rows, columns, setting, y } = this.trace;
    this.position = Math.max(0, Math.min(position, this.last));
    const { i, j } = this.place;
    for (const cell of this.stage.querySelectorAll(".lit")) cell.classList.remove("lit");
    for (const node of this.stage.querySelectorAll("[aria-current]")) node.removeAttribute("aria-current");
    const { first, count } = channelsOf(this.trace, this.filter);
    for (const c of range(setting.channels)) {
      for (const p of rows.taps[i]) {
        for (const q of columns.taps[j]) this.inputCells[c][p + rows.before][q + columns.before].classList.add("lit");
      }
    }
    this.matrixRows[this.position].classList.add("lit");
    this.matrixRows[this.position].setAttribute("aria-current", "true");
    this.outputCells.forEach((grid, o) => o === this.filter && grid[i][j].classList.add("lit"));
    this.outputCells[this.filter][i][j].setAttribute("aria-current", "true");
    this.reveal(this.matrixRows[this.position]);
    this.time.value = this.position;
    this.timeShown.textContent = `${this.position + 1} of ${this.last + 1}`;
    this.time.setAttribute("aria-valuetext", `${this.position + 1} of ${this.last + 1}, output row ${i}, column ${j}`);
    this.drawSum(i, j, first, count);
    this.status.textContent =
      `Window ${this.position + 1} of ${this.last + 1}, output row ${i}, column ${j}, filter ${this.filter}: ` +
      `${plural(count * setting.kernel_height * setting.kernel_width, "product")}, sum ${number(y[i][j][this.filter])}.`;
  }

  /** Scroll the matrix, and only the matrix, until the row is seen. */
  reveal(row) {
    const head = this.matrix.querySelector("thead").offsetHeight;
    const top = row.offsetTop;
    if (top < this.matrix.scrollTop + head) this.matrix.scrollTop = top - head;
    else if (top + row.offsetHeight > this.matrix.scrollTop + this.matrix.clientHeight) {
      this.matrix.scrollTop = top + row.offsetHeight - this.matrix.clientHeight;
    }
  }

  drawSum(i, j, first, count) {
    const taps = windowOf(this.trace, i, j);
    const parts = [];
    const lines = range(count).map((offset) => {
      const c = first + offset;
      let part = 0;
      const line = make("li", {}, make("span", { class: "name" }, `channel ${c}`));
      const terms = make("span", { class: "terms" });
      taps
        .filter((tap) => tap.c === c)
        .forEach(({ m, n, x }, k) => {
          const w = weight(this.trace, m, n, c, this.filter);
          part += x * w;
          terms.append(k ? " + " : "", make("span", { class: "term" }, make("b", { class: "x" }, number(x)), "·", make("b", { class: "w" }, factor(w))));
        });
      parts.push(part);
      line.append(terms, make("span", { class: "part" }, `= ${number(part)}`));
      return line;
    });
    const y = this.trace.y[i][j][this.filter];
    this.sum.replaceChildren(
      make("h2", {}, "The sum, written out"),
      make("ul", {}, ...lines),
      make(
        "p",
        { class: "total" },
        `y(${i}, ${j}, ${this.filter}) = `,
        parts.length > 1 ? `${parts.map((part, k) => (k ? factor(part) : number(part))).join(" + ")} = ` : "",
        make("b", { class: "y" }, number(y)),
      ),
    );
  }

  // ------------------------------------------------------------ moved by hand and by time

  toggle() {
    if (this.timer !== null) return this.stop();
    if (this.trace.error) return undefined;
    if (this.position === this.last) this.move(0);
    this.status.setAttribute("aria-live", "off"); // nobody can listen that fast
    this.play.replaceChildren(icon("pause"), "Pause");
    this.timer = setInterval(() => {
      this.move(this.position + 1);
      if (this.position === this.last) this.stop();
    }, PACE);
    return undefined;
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.status.setAttribute("aria-live", "polite");
    this.play.replaceChildren(icon("play"), "Play");
  }

  setPin(pinned) {
    this.pinned = pinned;
    this.pin.setAttribute("aria-pressed", String(pinned));
    this.root.classList.toggle("pinned", pinned);
  }

  key(event) {
    if (event.target !== this.stage) return; // in the matrix they scroll it
    if (event.ctrlKey || event.altKey || event.metaKey || this.trace.error) return;
    const width = this.trace.columns.output;
    const { i, j } = this.place;
    const moves = {
      ArrowRight: () => j + 1 < width && this.go(this.position + 1),
      ArrowLeft: () => j > 0 && this.go(this.position - 1),
      ArrowDown: () => i + 1 < this.trace.rows.output && this.go(this.position + width),
      ArrowUp: () => i > 0 && this.go(this.position - width),
      Home: () => this.go(0),
      End: () => this.go(this.last),
      PageDown: () => this.choose(this.filter + 1),
      PageUp: () => this.choose(this.filter - 1),
      Enter: () => this.setPin(!this.pinned),
      Escape: () => this.setPin(false),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]();
  }

  /** Return what a pointer means: the window of a matrix row or output cell, or the one centred nearest to an input cell. */
  target(event) {
    const { i, j, o } = event.target.closest("[data-i]")?.dataset ?? {};
    if (i !== undefined) return { position: +i * this.trace.columns.output + +j, filter: o === undefined ? this.filter : +o };
    const { p, q } = event.target.closest("[data-p]")?.dataset ?? {};
    if (p === undefined) return null;
    const nearest = (axis, index) => {
      const away = axis.taps.map((taps) => Math.abs((taps[0] + taps[taps.length - 1]) / 2 - index));
      return away.indexOf(Math.min(...away));
    };
    const { rows, columns } = this.trace;
    return { position: nearest(rows, +p) * columns.output + nearest(columns, +q), filter: this.filter };
  }

  hover(event) {
    if (this.pinned || this.timer !== null || this.trace.error) return;
    const target = this.target(event);
    if (target) this.jump(target);
  }

  click(event) {
    const target = this.trace.error ? null : this.target(event);
    if (!target) return;
    const here = target.position === this.position && target.filter === this.filter;
    this.stop();
    this.stage.focus({ preventScroll: true }); // the keys go on from here
    this.setPin(!(this.pinned && here));
    this.jump(target);
  }

  jump({ position, filter }) {
    if (position === this.position && filter === this.filter) return;
    this.position = position;
    if (filter === this.filter) this.move(position);
    else this.choose(filter);
  }
}

// ---------------------------------------------------------------- in a notebook

/** anywidget's entrance: Python answers a change of `setting` with a change of `trace`. */
export default {
  render({ model, el }) {
    const root = make("div");
    el.append(root);
    const options = { ...model.get("options"), start: model.get("setting") }; // shown a second time, it stands where it stood
    const stepper = new Stepper(root, options, (setting) => {
      model.set("setting", setting);
      model.save_changes();
    });
    const show = () => stepper.show(model.get("trace"));
    model.on("change:trace", show);
    show();
    return () => {
      stepper.stop();
      model.off("change:trace", show);
    };
  },
};
