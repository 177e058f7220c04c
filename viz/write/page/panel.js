// The words beside the graph: what is known of a node, the values at a step, the legend, the chart. Text is only ever
// set as text, so a name with markup in it stands as it is written.

function put(parent, name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  parent.append(element);
  return element;
}

function table(parent, rows) {
  const list = put(parent, "dl");
  for (const [word, text] of rows) {
    put(list, "dt", word);
    put(list, "dd", text);
  }
}

function describe(item) {
  if (item.kind === "node") return [item.lines.join("  "), item.rows];
  return [item.label, [["nodes", String(item.members.length)]]];
}

function showTip(tip, item, x, y, within) {
  tip.replaceChildren();
  const [title, rows] = describe(item);
  put(tip, "strong", title);
  table(tip, rows);
  tip.hidden = false;
  tip.style.left = Math.max(4, Math.min(x + 14, within.width - tip.offsetWidth - 8)) + "px";
  tip.style.top = Math.max(4, y + 18 + tip.offsetHeight > within.height ? y - tip.offsetHeight - 12 : y + 18) + "px";
}

function showSelected(section, item, trace) {
  section.replaceChildren();
  if (!item) return;
  const [title, rows] = describe(item);
  put(section, "h2", title);
  table(section, rows);
  const depend = trace.after.size === 1 ? "depends" : "depend";
  put(section, "p", `depends on ${count(trace.before.size)}; ${count(trace.after.size)} ${depend} on it`);
}

function count(n) {
  return `${n} node${n === 1 ? "" : "s"}`;
}

function showStep(section, step) {
  section.replaceChildren();
  const shown = ["value", "gradient", "shape"];
  const known = step.states
    .map((state) => [state.name, state.node.rows.filter(([word]) => shown.includes(word))])
    .filter(([, rows]) => rows.length);
  if (known.length) put(section, "h2", `After step t=${step.title}`);
  for (const [name, rows] of known) {
    put(section, "strong", name);
    table(section, rows);
  }
}

function showLegend(section, model) {
  const { meanings, arrows, roles } = model.data;
  put(section, "h2", "Legend");
  const key = put(section, "div", undefined, "key");
  const uses = (list, role) => list.some((part) => part.role === role);
  for (const role in meanings) if (uses(model.nodes, role)) nodeKey(key, roles[role], meanings[role]);
  for (const role in arrows) {
    if (uses(model.edges, role)) keyLine(key, arrows[role]).setAttribute("class", "seg " + role);
  }
  for (const [mark, text] of [
    ["before", "it depends on"],
    ["after", "depends on it"],
  ])
    keyLine(key, text).setAttribute("class", "seg " + mark);
  for (const [colour, text] of model.data.scale) {
    if (colour) nodeKey(key, [colour, "#777777", "box", 0, 0], text);
    else put(key, "strong", text, "wide");
  }
  const help = put(section, "p");
  const words = [
    ["click", "trace"],
    ["click + or −, double-click", "open or close a box"],
    ["drag, wheel", "move, zoom"],
    ["← →", "step"],
    ["+ − 0", "zoom, fit"],
    ["Esc", "clear"],
  ];
  for (const [keys, meaning] of words) {
    put(help, "kbd", keys);
    help.append(` ${meaning}  `);
  }
}

function nodeKey(parent, look, name) {
  outline(make("svg", { viewBox: "0 0 40 18" }, parent), look, { x: 4, y: 1, w: 32, h: 16 });
  put(parent, "span", name);
}

function keyLine(parent, name) {
  const svg = make("svg", { viewBox: "0 0 40 18" }, parent);
  const path = make("path", { d: "M2 9H37", "marker-end": "url(#head)" }, svg);
  put(parent, "span", name);
  return path;
}

// Norms over time as lines on a logarithmic scale: of the gradient where there is one, else of the values.
class Chart {
  constructor(svg, steps) {
    this.svg = svg;
    this.steps = steps;
    this.what = steps.some((step) => step.states.some((s) => s.gradient)) ? "gradient" : "value";
    this.lines = new Map();
    steps.forEach((step, i) =>
      step.states.forEach((state) => {
        if (!state[this.what]) return;
        if (!this.lines.has(state.name)) this.lines.set(state.name, []);
        this.lines.get(state.name).push([i, Math.log10(state[this.what])]);
      }),
    );
    const powers = [...this.lines.values()].flat().map(([, power]) => power);
    this.low = powers.reduce((a, b) => Math.min(a, b), Infinity);
    this.high = powers.reduce((a, b) => Math.max(a, b), -Infinity);
    if (steps.length < 2 || !powers.length) svg.remove();
  }

  // The step at a place from the chart's left.
  stepAt(x) {
    const part = (x - CHART_LEFT) / (this.svg.getBoundingClientRect().width - CHART_LEFT - CHART_RIGHT);
    return Math.round(part * (this.steps.length - 1));
  }

  draw(now) {
    if (!this.svg.isConnected) return;
    const { width, height } = this.svg.getBoundingClientRect();
    const left = CHART_LEFT,
      right = CHART_RIGHT,
      span = this.high - this.low || 1;
    const x = (i) => left + ((width - left - right) * i) / (this.steps.length - 1);
    const y = (power) => 8 + (height - 16) * (1 - (power - this.low) / span);
    this.svg.replaceChildren();
    const title = this.what === "gradient" ? "norm of the gradient" : "norm of the value";
    this.svg.setAttribute("aria-label", `${title} over the steps`);
    make("text", { x: 0, y: 12 }, this.svg).textContent = title;
    const mark = (power) => {
      make("text", { x: left - 8, y: y(power) + 4, "text-anchor": "end" }, this.svg).textContent = (
        10 ** power
      ).toPrecision(2);
    };
    mark(this.high);
    if (this.high - this.low > 1e-6) mark(this.low);
    make("path", { class: "chart-now", d: `M${x(now)} 2V${height - 2}` }, this.svg);
    let k = 0;
    for (const [name, points] of this.lines) {
      const colour = CHART[k % CHART.length];
      make(
        "path",
        {
          class: "chart-line",
          d: "M" + points.map(([i, p]) => `${tenth(x(i))} ${tenth(y(p))}`).join("L"),
          style: `stroke: ${colour}`,
        },
        this.svg,
      );
      const text = make("text", { x: width - right + 8, y: 12 + 13 * k }, this.svg);
      text.textContent = name;
      text.style.fill = colour;
      k++;
    }
  }
}

const CHART_LEFT = 150,
  CHART_RIGHT = 90;
const CHART = ["var(--before)", "var(--after)", "var(--pick)", "var(--now-line)"];
