// Drawing with SVG: only what is in view and large enough to see is in the document.

const SVG = "http://www.w3.org/2000/svg";
const FAR = 34; // a box that is narrower than this on the screen is drawn closed
const READABLE = 0.33; // the zoom below which labels are left out

function make(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (parent) parent.append(element);
  return element;
}

// The shape of a role's look that fills a rectangle; `own`: a colour instead of the role's.
function outline(group, [fill, line, form, dashed, rounded], r, own) {
  const look = { fill: own || fill, stroke: line, "stroke-dasharray": dashed ? "5 3" : "none" };
  if (form === "plaintext") {
    group.classList.add("on-page");
    look.fill = look.stroke = "none";
  }
  if (form === "ellipse")
    make("ellipse", { cx: r.x + r.w / 2, cy: r.y + r.h / 2, rx: r.w / 2, ry: r.h / 2, ...look }, group);
  else make("rect", { x: r.x, y: r.y, width: r.w, height: r.h, rx: rounded ? 6 : 0, ...look }, group);
}

class Painter {
  constructor(svg, model) {
    this.svg = svg;
    this.model = model;
    this.view = { x: 0, y: 0, zoom: 1 };
    this.marks = {
      before: new Set(),
      after: new Set(),
      picked: null,
      hits: new Set(),
      step: -1,
      segments: new Map(),
      near: new Set(),
    };
    this.looks = model.data.looks;
    this.roles = model.data.roles;
    this.markers();
    this.world = make("g", { id: "world" }, svg);
    this.layers = ["boxes", "edges", "nodes", "labels"].map((id) => make("g", { id }, this.world));
    this.pool = new Map(); // what is in the document, by key
  }

  setLayout(layout) {
    this.layout = layout;
    for (const element of this.pool.values()) element.remove();
    this.pool.clear();
    this.paint();
  }

  // Arrow heads take the colour of their line.
  markers() {
    const defs = make("defs", {}, this.svg);
    const marker = make(
      "marker",
      {
        id: "head",
        viewBox: "0 0 8 8",
        refX: 7.5,
        refY: 4,
        markerWidth: 8,
        markerHeight: 8,
        orient: "auto",
        markerUnits: "userSpaceOnUse",
      },
      defs,
    );
    make("path", { d: "M0 0.8L8 4L0 7.2z", fill: "context-stroke" }, marker);
  }

  // The part of the page that is in view, in the layout's units, with a margin.
  window() {
    const { x, y, zoom } = this.view,
      { width, height } = this.svg.getBoundingClientRect();
    return [-x / zoom - 40, -y / zoom - 40, (width - x) / zoom + 40, (height - y) / zoom + 40];
  }

  paint() {
    const { x, y, zoom } = this.view;
    this.world.setAttribute("transform", `translate(${x} ${y}) scale(${zoom})`);
    this.svg.classList.toggle("traced", this.marks.picked !== null);
    this.wanted = new Set();
    this.inView = this.window();
    if (this.model.placed) this.paintPlaced();
    else this.paintBox(this.model.root);
    for (const [key, element] of this.pool) {
      if (!this.wanted.has(key)) {
        element.remove();
        this.pool.delete(key);
      }
    }
  }

  paintPlaced() {
    for (const box of this.model.boxes)
      if (!this.model.isHidden(box) && this.sees(this.layout.rects.get(box))) this.paintFrame(box);
    this.paintSegments(this.model.root);
    for (const node of this.model.nodes)
      if (!this.model.isHidden(node) && this.sees(this.layout.rects.get(node))) this.paintNode(node);
  }

  paintFrame(box) {
    if (box.open || !box.members.length) this.paintOpen(box);
    else this.paintClosed(box);
  }

  // An open box and all in it; one that is too small on the screen is drawn as if it were closed.
  paintBox(box) {
    const rect = this.layout.rects.get(box);
    if (!this.sees(rect)) return;
    if (box.parent) {
      if (!box.open || rect.w * this.view.zoom < FAR) return this.paintClosed(box);
      this.paintOpen(box);
    }
    this.paintSegments(box);
    for (const item of box.items) {
      if (item.kind === "box") this.paintBox(item);
      else if (this.sees(this.layout.rects.get(item))) this.paintNode(item);
    }
  }

  sees({ x, y, w, h }) {
    const [left, top, right, bottom] = this.inView;
    return x < right && x + w > left && y < bottom && y + h > top;
  }

  // The element of a key, made by `build` if it is not in the document yet.
  element(key, layer, build) {
    this.wanted.add(key);
    let element = this.pool.get(key);
    if (!element) {
      element = build();
      this.layers[layer].append(element);
      this.pool.set(key, element);
    }
    return element;
  }

  paintOpen(box) {
    const r = this.layout.rects.get(box);
    const group = this.element(box.id, 0, () => {
      const g = make("g", { class: "box", "data-id": box.id });
      make("rect", { x: r.x, y: r.y, width: r.w, height: r.h, rx: 6 }, g);
      this.title(g, box, r);
      return g;
    });
    group.classList.toggle("now", box.step >= 0 && box.step === this.marks.step);
  }

  title(group, box, r) {
    const lines = box.label.split("\n");
    const closable = box.members.length > 0;
    const [x, y] = box.labelAt ? [box.labelAt[0], 3.5 - box.labelAt[1] - 6 * (lines.length - 1)] : [r.x + 9, r.y + 17];
    lines.forEach((line, i) => {
      const text = make("text", { x, y: y + 12 * i }, group);
      if (box.labelAt) text.style.cssText = "text-anchor: middle; font-size: 10px";
      text.textContent = closable && i === 0 && !box.labelAt ? "− " + line : line;
      if (closable) {
        text.setAttribute("class", "title");
        button(text, `close ${line}`, "toggle", box.id);
      }
    });
  }

  paintClosed(box) {
    const r = this.layout.rects.get(box);
    const group = this.element("closed " + box.id, 2, () => {
      const g = make("g", { class: "closed", "data-id": box.id });
      make("rect", { x: r.x, y: r.y, width: r.w, height: r.h, rx: 6 }, g);
      if (!box.open) this.closedTitle(g, box, r); // one that only looks closed has none
      button(g, `${box.label}, closed, ${count(box.members.length)}`, "pick", box.id);
      return g;
    });
    const any = (set) => box.members.some((node) => set.has(node));
    this.mark(group, box, any(this.marks.before), any(this.marks.after), any(this.marks.hits));
    group.classList.toggle("now", box.step >= 0 && box.step === this.marks.step);
  }

  closedTitle(group, box, r) {
    const middle = r.y + Math.min(r.h / 2, 22);
    const knob = make("g", { class: "knob" }, group);
    make("rect", { x: r.x + 7, y: middle - 8, width: 16, height: 16, rx: 4 }, knob);
    make("text", { x: r.x + 15, y: middle + 4.5 }, knob).textContent = "+";
    button(knob, `open ${box.label}`, "toggle", box.id);
    make("text", { x: r.x + 30, y: middle - 2 }, group).textContent = box.label.split("\n")[0];
    make("text", { x: r.x + 30, y: middle + 12, class: "count" }, group).textContent = count(box.members.length);
  }

  paintNode(node) {
    const group = this.element(node.id, 2, () => this.nodeElement(node));
    const text = this.view.zoom >= READABLE ? "" : "none";
    if (group.lastChild.style.display !== text) group.lastChild.style.display = text;
    this.mark(group, node, this.marks.before.has(node), this.marks.after.has(node), this.marks.hits.has(node));
  }

  nodeElement(node) {
    const r = this.layout.rects.get(node);
    const group = make("g", { class: "node" + (node.strong ? " strong" : ""), "data-id": node.id });
    outline(group, this.roles[node.role], r, node.fill);
    const lines = make("g", {}, group);
    const top = r.y + r.h / 2 - (node.lines.length - 1) * 7.2 + 4.2;
    node.lines.forEach((line, i) => {
      const text = make("text", { x: r.x + r.w / 2, y: top + 14.4 * i }, lines);
      text.textContent = line;
    });
    button(group, node.lines.join(", "), "pick", node.id);
    return group;
  }

  mark(group, item, before, after, hit) {
    const picked = this.marks.picked === item;
    group.classList.toggle("picked", picked);
    group.classList.toggle("before", before && !picked);
    group.classList.toggle("after", after && !before && !picked);
    group.classList.toggle("hit", hit && !picked);
  }

  paintSegments(box) {
    const part = this.layout.parts.get(box),
      zoom = this.view.zoom;
    const [left, top, right, bottom] = this.inView;
    const marks = this.marks.segments.get(box),
      near = this.marks.near;
    part.segments.forEach((segment, i) => {
      const [x0, y0, x1, y1] = segment.box;
      if (x0 + part.x > right || x1 + part.x < left || y0 + part.y > bottom || y1 + part.y < top) return;
      if (Math.max(x1 - x0, y1 - y0) * zoom < 3) return;
      const key = `${box.id} ${i}`;
      const path = this.element(key, 1, () => this.segmentElement(segment, part));
      const mark = marks ? marks.get(i) : undefined;
      path.classList.toggle("before", mark === "before");
      path.classList.toggle("after", mark === "after");
      path.classList.toggle("near", near.has(key));
      if (segment.label && zoom >= READABLE) this.label(key, segment, part);
    });
  }

  segmentElement(segment, part) {
    const path = make("path", { class: "seg " + segment.role, d: segment.d });
    if (part.x || part.y) path.setAttribute("transform", `translate(${part.x} ${part.y})`);
    if (segment.arrow) path.setAttribute("marker-end", "url(#head)");
    if (segment.look) {
      path.style.stroke = segment.look[0];
      path.style.strokeWidth = segment.look[1];
    }
    return path;
  }

  label(key, segment, part) {
    this.element("label " + key, 3, () => {
      const [x, y] = segment.labelAt;
      const text = make("text", { x: x + part.x, y: y + part.y + 3.5, class: "label" });
      text.textContent = segment.label;
      return text;
    });
  }
}

// Something that can be clicked, and reached with the Tab key.
function button(element, name, action, id) {
  element.setAttribute("tabindex", action === "pick" ? "0" : "-1");
  element.setAttribute("role", "button");
  element.setAttribute("aria-label", name);
  element.dataset.action = action;
  element.dataset.id = id;
}
