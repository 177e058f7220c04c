// The page: what the pointer, the keys and the slider do.

class Page {
  constructor(data) {
    const element = (id) => document.getElementById(id);
    this.element = element;
    this.model = new Model(data);
    this.svg = element("canvas");
    if (data.paper) this.svg.classList.add("paper");
    edgeColours(data);
    this.painter = new Painter(this.svg, this.model);
    this.step = -1;
    this.hits = [];
    this.model.openForReading();
    this.lay();
    showLegend(element("legend"), this.model);
    this.time();
    this.begin();
    this.pointer();
    this.keys();
    this.buttons();
    window.addEventListener("resize", () => this.later());
  }

  // -- layout and view ---------------------------------------------------------------------------------------------

  lay() {
    this.layout = this.model.placed ? placePicture(this.model) : layOut(this.model);
    this.markSegments();
    this.element("tip").hidden = true;
    this.painter.setLayout(this.layout);
  }

  // Paint with the next frame.
  later() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.painter.paint();
      if (this.chart) this.chart.draw(Math.max(this.step, 0));
    });
  }

  // The rectangle around all that is drawn.
  bounds() {
    const rects = this.layout.rects;
    return this.model.placed ? around([...rects.values()]) : rects.get(this.model.root);
  }

  fit() {
    const { x, y, w, h } = this.bounds(),
      { width, height } = this.svg.getBoundingClientRect();
    const zoom = Math.min((width - 40) / w, (height - 40) / h, 1.5);
    this.painter.view = { zoom, x: (width - w * zoom) / 2 - x * zoom, y: (height - h * zoom) / 2 - y * zoom };
    this.later();
  }

  // The first view: all, or of a long net the beginning, large enough to read and its first step whole where it fits.
  begin() {
    this.fit();
    const view = this.painter.view;
    if (view.zoom < PLAIN) {
      const { x, y, h } = this.bounds(),
        { width, height } = this.svg.getBoundingClientRect();
      const step = this.model.steps.length ? this.model.steps[0].boxes.find((box) => !this.model.isHidden(box)) : null;
      const first = this.layout.rects.get(step || this.model.shown(this.model.nodes[0]));
      const end = first.x + first.w;
      const plain = Math.max(PLAIN, Math.min((height - 40) / h, 1));
      const zoom = Math.max(SMALLEST, Math.min(plain, (width - 40) / (end - x)));
      const begin = (end - x) * zoom > width - 40 ? Math.min(first.x, end - (width - 40) / zoom) : x;
      const top = h * zoom < height ? (height - h * zoom) / 2 - y * zoom : height / 2 - (first.y + first.h / 2) * zoom;
      this.painter.view = { zoom, x: 20 - begin * zoom, y: top };
    }
    this.painter.paint();
  }

  zoomBy(factor, at) {
    const view = this.painter.view,
      { width, height } = this.svg.getBoundingClientRect();
    const [px, py] = at || [width / 2, height / 2];
    const zoom = Math.min(Math.max(view.zoom * factor, 0.002), 8),
      part = zoom / view.zoom;
    this.painter.view = { zoom, x: px - (px - view.x) * part, y: py - (py - view.y) * part };
    this.later();
  }

  // Bring an item into the middle, large enough to read; with others, if all fit beside it.
  centre(item, others = []) {
    const { width, height } = this.svg.getBoundingClientRect();
    const all = around([item, ...others].map((i) => this.layout.rects.get(i)));
    const fits = all.w * PLAIN < width - 60 && all.h * PLAIN < height - 60;
    const r = fits ? all : this.layout.rects.get(item);
    const view = this.painter.view,
      most = Math.min((width - 60) / r.w, (height - 60) / r.h);
    const zoom = Math.min(Math.max(view.zoom, PLAIN), Math.max(most, READABLE));
    this.painter.view = { zoom, x: width / 2 - (r.x + r.w / 2) * zoom, y: height / 2 - (r.y + r.h / 2) * zoom };
    this.later();
  }

  // -- boxes and traces --------------------------------------------------------------------------------------------

  // Open or close a box; its upper left corner stays where it is on the screen.
  toggle(box) {
    const before = this.layout.rects.get(box),
      view = this.painter.view;
    this.model.toggle(box);
    this.lay();
    const after = this.layout.rects.get(box);
    view.x += (before.x - after.x) * view.zoom;
    view.y += (before.y - after.y) * view.zoom;
    this.painter.paint();
  }

  pick(item) {
    const marks = this.painter.marks;
    marks.picked = item;
    const trace = item ? this.model.trace(item) : { before: new Set(), after: new Set() };
    marks.before = trace.before;
    marks.after = trace.after;
    this.markSegments();
    showSelected(this.element("selected"), item, trace);
    this.later();
  }

  // Which segments lie on a trace: those of the edges that lead to the picked item, and of those that lead on from it.
  markSegments() {
    const { picked, before, after } = this.painter.marks;
    const marked = new Map();
    this.painter.marks.segments = marked;
    if (!picked) return;
    const start = picked.kind === "node" ? new Set([picked]) : new Set(picked.members);
    for (const edge of this.model.shownEdges()) {
      const leads = edge.members.some((e) => before.has(e.tail) && (before.has(e.head) || start.has(e.head)));
      const follows = edge.members.some((e) => after.has(e.head) && (after.has(e.tail) || start.has(e.tail)));
      if (leads || follows) this.markRoute(marked, edge, leads ? "before" : "after");
    }
  }

  markRoute(marked, edge, mark) {
    for (const [box, i] of this.route(edge)) {
      if (!marked.has(box)) marked.set(box, new Map());
      if (mark === "before" || !marked.get(box).has(i)) marked.get(box).set(i, mark);
    }
  }

  route(edge) {
    const route = this.layout.routes.get(edgeKey(edge));
    return typeof route === "function" ? route() : route;
  }

  hover(item) {
    if (item === this.hovered) return;
    this.hovered = item;
    const near = new Set();
    if (item) {
      this.shownNow = this.shownFor === this.layout ? this.shownNow : this.model.shownEdges();
      this.shownFor = this.layout;
      for (const edge of this.shownNow) {
        if (edge.tail === item || edge.head === item)
          for (const [box, i] of this.route(edge)) near.add(`${box.id} ${i}`);
      }
    }
    this.painter.marks.near = near;
    this.later();
  }

  // -- time --------------------------------------------------------------------------------------------------------

  time() {
    const steps = this.model.steps;
    if (!steps.length) return;
    this.element("time").hidden = false;
    const slider = this.element("slider");
    slider.max = steps.length - 1;
    slider.addEventListener("input", () => this.go(Number(slider.value)));
    this.chart = new Chart(this.element("chart"), steps);
    const chart = this.element("chart");
    if (chart)
      chart.addEventListener("click", (event) =>
        this.go(this.chart.stepAt(event.clientX - chart.getBoundingClientRect().left)),
      );
    this.element("follow-label").hidden = !this.model.long;
    this.followed = [];
    this.mark(0);
  }

  // Show a step: its boxes are marked and come into view, its states' values stand beside.
  go(i) {
    if (!this.model.steps.length) return;
    this.mark(i);
    if (this.model.long && this.element("follow").checked) this.follow();
    const boxes = this.model.steps[this.step].boxes.filter((box) => !this.model.isHidden(box));
    if (boxes.length && !(this.model.placed && this.isInView(boxes[0]))) this.centre(boxes[0], boxes.slice(1));
  }

  // Open the step's boxes, and close again those that were opened so before.
  follow() {
    for (const box of this.followed) box.open = false;
    this.followed = this.model.steps[this.step].boxes.filter((box) => !box.open);
    for (const box of this.followed) box.open = true;
    this.lay();
  }

  mark(i) {
    const steps = this.model.steps;
    this.step = Math.min(Math.max(i, 0), steps.length - 1);
    const step = steps[this.step],
      slider = this.element("slider");
    slider.value = this.step;
    slider.setAttribute("aria-valuetext", `t=${step.title}`);
    this.element("step").textContent = `t=${step.title}  (${this.step + 1} of ${steps.length})`;
    this.painter.marks.step = this.step;
    showStep(this.element("step-values"), step);
    this.later();
  }

  isInView(item) {
    const { x, y, zoom } = this.painter.view,
      r = this.layout.rects.get(item),
      { width, height } = this.svg.getBoundingClientRect();
    return (
      r.x * zoom + x >= 0 && (r.x + r.w) * zoom + x <= width && r.y * zoom + y >= 0 && (r.y + r.h) * zoom + y <= height
    );
  }

  // -- pointer, keys, buttons --------------------------------------------------------------------------------------

  itemOf(element) {
    const holder = element instanceof Element ? element.closest("[data-id]") : null;
    return holder ? [this.byId(holder.dataset.id), holder.dataset.action] : [null, ""];
  }

  byId(id) {
    return id[0] === "n" ? this.model.nodes[Number(id.slice(1))] : this.model.boxes[Number(id.slice(1))];
  }

  pointer() {
    const svg = this.svg,
      tip = this.element("tip"),
      held = new Map();
    let moved = 0;
    svg.addEventListener("pointerdown", (event) => {
      held.set(event.pointerId, [event.clientX, event.clientY]);
      moved = 0;
    });
    window.addEventListener("pointermove", (event) => {
      const at = held.get(event.pointerId);
      if (!at) return;
      moved += Math.abs(event.clientX - at[0]) + Math.abs(event.clientY - at[1]);
      if (moved > 4) this.drag(held, event);
      held.set(event.pointerId, [event.clientX, event.clientY]);
    });
    const release = (event) => {
      held.delete(event.pointerId);
      svg.classList.remove("dragging");
    };
    window.addEventListener("pointerup", release);
    window.addEventListener("pointercancel", release);
    svg.addEventListener("click", (event) => moved > 4 || this.clicked(event.target));
    svg.addEventListener("dblclick", (event) => {
      const [item, action] = this.itemOf(event.target);
      if (item && item.kind === "box" && action !== "toggle" && item.members.length) this.toggle(item);
    });
    svg.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const r = svg.getBoundingClientRect();
        this.zoomBy(2 ** (-event.deltaY / (event.deltaMode ? 12 : 300)), [
          event.clientX - r.left,
          event.clientY - r.top,
        ]);
      },
      { passive: false },
    );
    svg.addEventListener("pointermove", (event) => this.rest(event, held.size > 0, tip));
    svg.addEventListener("pointerleave", () => {
      tip.hidden = true;
      this.hover(null);
    });
    svg.addEventListener("focusin", (event) => this.focused(event.target, tip));
  }

  // One pointer moves the page, two zoom it.
  drag(held, event) {
    const at = held.get(event.pointerId),
      view = this.painter.view;
    this.svg.classList.add("dragging");
    if (held.size === 2) {
      const other = [...held].find(([id]) => id !== event.pointerId)[1],
        r = this.svg.getBoundingClientRect();
      const far = (x, y) => Math.hypot(x - other[0], y - other[1]);
      this.zoomBy(far(event.clientX, event.clientY) / (far(...at) || 1), [other[0] - r.left, other[1] - r.top]);
      return;
    }
    view.x += event.clientX - at[0];
    view.y += event.clientY - at[1];
    this.later();
  }

  clicked(target) {
    const [item, action] = this.itemOf(target);
    if (item && action === "toggle") this.toggle(item);
    else this.pick(action === "pick" ? item : null);
  }

  rest(event, dragging, tip) {
    const [item, action] = this.itemOf(event.target);
    const shown = !dragging && item && action === "pick" ? item : null;
    this.hover(shown);
    tip.hidden = !shown;
    const r = this.element("canvas").parentElement.getBoundingClientRect();
    if (shown) showTip(tip, shown, event.clientX - r.left, event.clientY - r.top, r);
  }

  focused(target, tip) {
    const [item, action] = this.itemOf(target);
    if (!item || action !== "pick" || !target.matches(":focus-visible")) return;
    const r = target.getBoundingClientRect(),
      within = this.svg.parentElement.getBoundingClientRect();
    this.hover(item);
    showTip(tip, item, r.right - within.left, r.top - within.top, within);
  }

  keys() {
    const actions = {
      ArrowLeft: () => this.go(this.step - 1),
      ArrowRight: () => this.go(this.step + 1),
      "+": () => this.zoomBy(1.25),
      "=": () => this.zoomBy(1.25),
      "-": () => this.zoomBy(0.8),
      0: () => this.fit(),
      "/": () => this.element("search").focus(),
      Escape: () => {
        this.element("search").value = "";
        this.search("");
        this.element("tip").hidden = true;
        this.pick(null);
      },
    };
    document.addEventListener("keydown", (event) => {
      const inField = event.target instanceof HTMLInputElement;
      if (event.ctrlKey || event.metaKey || event.altKey || (inField && event.key !== "Escape")) return;
      const [item, action] = this.itemOf(event.target);
      if (item && (event.key === "Enter" || event.key === " ")) this.press(event.key, item, action);
      else if (actions[event.key]) actions[event.key]();
      else return;
      event.preventDefault();
    });
  }

  // Enter traces what has the focus; the space bar opens or closes it, or the box that it stands in.
  press(key, item, action) {
    if (key === "Enter" && action === "pick") return this.pick(item);
    const box = item.kind === "box" ? item : item.parent;
    if (box.parent) this.toggle(box);
  }

  buttons() {
    const on = (id, act) => this.element(id).addEventListener("click", act);
    const all = (open) => {
      this.model.setAll(open);
      this.lay();
      this.begin();
    };
    on("open-all", () => all(true));
    on("close-all", () => all(false));
    on("zoom-in", () => this.zoomBy(1.25));
    on("zoom-out", () => this.zoomBy(0.8));
    on("fit", () => this.fit());
    const field = this.element("search");
    field.addEventListener("input", () => this.search(field.value));
    field.addEventListener("keydown", (event) => event.key === "Enter" && this.next(event.shiftKey ? -1 : 1));
  }

  search(words) {
    this.hits = this.model.search(words);
    this.hit = -1;
    this.painter.marks.hits = new Set(this.hits);
    this.element("hits").textContent = words.trim()
      ? `${count(this.hits.length)}${this.hits.length ? ": Enter" : ""}`
      : "";
    this.later();
  }

  // Go to the next node that was found, opening what it is in.
  next(by) {
    if (!this.hits.length) return;
    this.hit = (this.hit + by + this.hits.length) % this.hits.length;
    const node = this.hits[this.hit];
    if (this.model.isHidden(node)) {
      this.model.reveal(node);
      this.lay();
    }
    this.element("hits").textContent = `${this.hit + 1} of ${this.hits.length}`;
    this.pick(node);
    this.centre(node);
  }
}

// The rectangle around rectangles.
function around(rects) {
  const least = (of) => rects.reduce((a, r) => Math.min(a, of(r)), Infinity);
  const x = least((r) => r.x),
    y = least((r) => r.y);
  return { x, y, w: -least((r) => -r.x - r.w) - x, h: -least((r) => -r.y - r.h) - y };
}

const PLAIN = 0.65; // the zoom at which labels are easy to read
const SMALLEST = 0.5; // the zoom below which no page opens

// Lines in the colours of the picture, in two sets: for light and dark pages.
function edgeColours(data) {
  const where = data.paper ? ":where(aside)" : ""; // a picture on white paper stays as it is
  const rules = (which) =>
    Object.entries(data.looks)
      .map(([role, [light, dark, width, dashed]]) =>
        which === "dark"
          ? `${where} .seg.${role}{stroke:${dark}}`
          : `.seg.${role}{stroke:${light};stroke-width:${width}${dashed ? ";stroke-dasharray:5 3" : ""}}`,
      )
      .join("");
  const style = document.createElement("style");
  style.textContent = rules("light") + `@media (prefers-color-scheme: dark){${rules("dark")}}`;
  document.head.prepend(style);
}

// Put into another document (a notebook's cell), the page moves into a frame of its own, where it is the whole document.
function moveIntoFrame(place) {
  const frame = document.createElement("iframe");
  frame.srcdoc = `<!DOCTYPE html><html lang="en" class="tinygrad-rnn">${place.innerHTML}</html>`;
  frame.style.cssText = "width: 100%; height: 640px; border: 0";
  place.replaceChildren(frame);
}

const data = document.getElementById("data");
if (document.documentElement.classList.contains("tinygrad-rnn")) window.page = new Page(JSON.parse(data.textContent));
else moveIntoFrame(data.parentNode);
