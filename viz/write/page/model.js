// The graph: nodes and boxes in a tree, edges, what is open, and who depends on whom. Nothing here draws.

class Model {
  constructor(data) {
    const text = (k) => data.strings[k];
    this.data = data;
    this.placed = data.placed;
    this.root = {
      kind: "box",
      index: -1,
      id: "root",
      label: "",
      step: -1,
      parent: null,
      open: true,
      items: [],
      members: [],
    };
    this.boxes = data.boxes.map(([label, , role, step, corners, labelAt], index) => ({
      kind: "box",
      index,
      id: "b" + index,
      label: text(label),
      role: text(role),
      step,
      corners,
      labelAt,
      parent: null,
      open: true,
      timed: false,
      items: [],
      members: [],
    }));
    this.nodes = data.nodes.map(([lines, role, , size, strong, fill, at, rows], index) => ({
      kind: "node",
      index,
      id: "n" + index,
      lines: lines.map(text),
      role: text(role),
      size,
      strong,
      fill,
      at,
      rows: pairs(rows.map(text)),
      parent: null,
      into: [],
      out: [],
    }));
    this.edges = data.edges.map(([tail, head, role, label, path, labelAt, look], index) => ({
      index,
      tail: this.nodes[tail],
      head: this.nodes[head],
      role: text(role),
      label: label === undefined ? "" : text(label),
      path,
      labelAt,
      look,
    }));
    this.boxes.forEach((box, i) => {
      box.parent = this.boxes[data.boxes[i][1]] || this.root;
    });
    this.nodes.forEach((node, i) => {
      node.parent = this.boxes[data.nodes[i][2]] || this.root;
    });
    for (const edge of this.edges) {
      edge.tail.out.push(edge.head);
      edge.head.into.push(edge.tail);
    }
    this.fillBoxes();
    for (const box of this.boxes) if (box.step >= 0) for (let b = box; b; b = b.parent) b.timed = true;
    this.steps = data.steps.map((title, i) => ({
      title,
      boxes: this.boxes.filter((box) => box.step === i),
      states: [],
    }));
    for (const [step, name, node, value, gradient] of data.states) {
      this.steps[step].states.push({ name: text(name), node: this.nodes[node], value, gradient });
    }
  }

  // Put every node and box into its parent, in the order of their first nodes, and every node among its boxes' members.
  fillBoxes() {
    for (const node of this.nodes) {
      node.parent.items.push(node);
      let box = node.parent;
      for (; box; box = box.parent) {
        if (!box.members.length && box.parent) box.parent.items.push(box);
        box.members.push(node);
      }
    }
  }

  // The item that stands for a node: the outermost closed box around it, or the node itself.
  shown(node) {
    let item = node;
    for (let box = node.parent; box; box = box.parent) if (!box.open) item = box;
    return item;
  }

  // What is drawn now: edges between shown items, each pair once, with the edges that it stands for.
  shownEdges() {
    const edges = new Map();
    const items = this.nodes.map((node) => this.shown(node));
    for (const edge of this.edges) {
      const tail = items[edge.tail.index],
        head = items[edge.head.index];
      if (tail === head) continue;
      const key = tail.id + ">" + head.id;
      const known = edges.get(key);
      if (!known) edges.set(key, { tail, head, role: edge.role, members: [edge] });
      else {
        known.members.push(edge);
        if (STRENGTH.indexOf(edge.role) < STRENGTH.indexOf(known.role)) known.role = edge.role;
      }
    }
    return [...edges.values()];
  }

  isHidden(item) {
    return item.kind === "node" ? this.shown(item) !== item : hasClosedOuter(item);
  }

  // All that an item was computed from, and all that was computed from it.
  trace(item) {
    const start = item.kind === "node" ? [item] : item.members;
    return {
      start: new Set(start),
      before: reach(start, (node) => node.into),
      after: reach(start, (node) => node.out),
    };
  }

  toggle(box) {
    box.open = !box.open;
  }

  setAll(open) {
    for (const box of this.boxes) box.open = open;
  }

  // Open every box around an item.
  reveal(item) {
    for (let box = item.parent; box; box = box.parent) box.open = true;
  }

  // What is open at first: all of a short graph; of a long one the steps are closed, except the first.
  openForReading() {
    this.long = !this.placed && this.nodes.length > MANY;
    if (this.long) for (const box of this.boxes) if (box.step > 0 && !this.isInsideStep(box)) box.open = false;
  }

  isInsideStep(box) {
    for (let outer = box.parent; outer; outer = outer.parent) if (outer.step >= 0) return true;
    return false;
  }

  search(words) {
    const wanted = words.trim().toLowerCase();
    if (!wanted) return [];
    const holds = (text) => text.toLowerCase().includes(wanted);
    return this.nodes.filter((node) => node.lines.some(holds) || node.rows.some(([, value]) => holds(value)));
  }
}

const MANY = 400;
const STRENGTH = ["memory", "state", "data", "weight", "constant"];

function pairs(list) {
  const rows = [];
  for (let i = 0; i + 1 < list.length; i += 2) rows.push([list[i], list[i + 1]]);
  return rows;
}

function hasClosedOuter(item) {
  for (let box = item.parent; box; box = box.parent) if (!box.open) return true;
  return false;
}

function reach(start, next) {
  const seen = new Set(start);
  const work = [...start];
  while (work.length) {
    for (const node of next(work.pop())) {
      if (!seen.has(node)) {
        seen.add(node);
        work.push(node);
      }
    }
  }
  for (const node of start) seen.delete(node);
  return seen;
}
