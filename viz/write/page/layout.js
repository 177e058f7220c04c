// Places for graphs without any: layers from left to right [Sugiyama, Tagawa & Toda 1981], box by box from the inside
// out. A box is laid out by itself; to the box around it it is a rectangle with ports on its left and right borders,
// where arrows pass. Boxes of the same build (the steps of a net) share one layout, so many cost little more than one.
// Arrows from one source (a weight that all steps read) share one line, from which they branch off.

const PAD = 14,
  HEAD = 24,
  BETWEEN = 46,
  APART = 16,
  LINE = 10;
const SWEEPS = 6;

function layOut(model) {
  const edges = model.shownEdges();
  const scenes = new Map();
  const scene = (box) => {
    if (!scenes.has(box)) scenes.set(box, new Scene(box));
    return scenes.get(box);
  };
  for (const item of openItems(model.root)) if (item.kind === "box" && item.open) scene(item);
  const routes = new Map();
  for (const edge of edges) routes.set(edgeKey(edge), wire(edge, scene));
  const known = new Map();
  const size = arrange(model.root, scenes, known);
  const rects = new Map(),
    parts = new Map();
  settle(model.root, 0, 0, size, scenes, rects, parts);
  for (const [key, links] of routes) routes.set(key, segmentsOf(links, scenes));
  return { rects, parts, routes };
}

// All shown items, outer before inner.
function openItems(root) {
  const items = [root];
  for (let i = 0; i < items.length; i++) if (items[i].kind === "box" && items[i].open) items.push(...items[i].items);
  return items;
}

// What one open box holds: its items, the ports on its borders, and links between them.
class Scene {
  constructor(box) {
    this.box = box;
    this.ends = box.items.map((item) => ({ item, key: item.id }));
    this.number = new Map(this.ends.map((end, i) => [end.key, i]));
    this.links = [];
    this.linkOf = new Map();
    this.layout = null;
  }

  // The number of a port: "i" on the left border or "o" on the right one, one for every source.
  port(side, source) {
    const key = side + source.id;
    if (!this.number.has(key)) {
      this.number.set(key, this.ends.length);
      this.ends.push({ port: side, key });
    }
    return this.number.get(key);
  }

  // The number of a link; a and b are ends, and the source tells which of an inner box's ports is meant.
  link(a, b, source, role) {
    const key = `${a} ${b} ${source.id}`;
    if (!this.linkOf.has(key)) {
      this.linkOf.set(key, this.links.length);
      this.links.push({ a, b, source, role });
    }
    return this.linkOf.get(key);
  }
}

// Lead an edge through all boxes between its ends; returns its links as [box, link number].
function wire(edge, scene) {
  const outer = [],
    around = new Set();
  for (let box = edge.head.parent; box; box = box.parent) around.add(box);
  const pieces = [];
  let item = edge.tail,
    box = item.parent;
  for (; !around.has(box); item = box, box = box.parent) {
    const s = scene(box);
    pieces.push([box, s.link(s.number.get(item.id), s.port("o", edge.tail), edge.tail, edge.role)]);
  }
  let inner = edge.head;
  for (; inner.parent !== box; inner = inner.parent) {
    const s = scene(inner.parent);
    outer.unshift([inner.parent, s.link(s.port("i", edge.tail), s.number.get(inner.id), edge.tail, edge.role)]);
  }
  const s = scene(box);
  pieces.push([box, s.link(s.number.get(item.id), s.number.get(inner.id), edge.tail, edge.role)]);
  return [...pieces, ...outer];
}

// Lay out a box after all in it; returns its size.
function arrange(box, scenes, known) {
  const scene = scenes.get(box);
  const ends = scene.ends.map((end) => {
    if (end.port) return { w: 0, h: LINE, port: end.port, build: end.port };
    if (end.item.kind === "node")
      return { w: end.item.size[0], h: end.item.size[1], build: end.item.size.join(), leaf: true };
    if (!end.item.open)
      return {
        ...closedSize(end.item),
        build: `c${closedSize(end.item).w}${end.item.timed}`,
        leaf: true,
        timed: end.item.timed,
      };
    const size = arrange(end.item, scenes, known);
    const inner = scenes.get(end.item),
      timed = end.item.timed;
    return { ...size, inner, timed, row: timed, build: inner.layout.id + (timed ? "t" : "") };
  });
  const links = scene.links.map(({ a, b, source, role }) => ({
    a,
    b,
    role,
    from: portHeight(ends[a], "o", source),
    to: portHeight(ends[b], "i", source),
    bundle: source.id,
  }));
  const first = new Map();
  for (const link of links) if (!first.has(link.bundle)) first.set(link.bundle, first.size);
  const build =
    textWidth(box.label) +
    "|" +
    ends.map((e) => e.build).join(";") +
    "|" +
    links.map((l) => [l.a, l.b, l.role, l.from, l.to, first.get(l.bundle)].join()).join(";");
  if (!known.has(build)) known.set(build, { id: known.size, ...new Layers(ends, links, box.label).result() });
  scene.layout = known.get(build);
  return { w: scene.layout.w, h: scene.layout.h };
}

// How far below its top an end is left or entered: at a port, or in the middle.
function portHeight(end, side, source) {
  if (!end.inner) return end.h / 2;
  return end.inner.layout.heights[end.inner.number.get(side + source.id)];
}

function closedSize(box) {
  return { w: Math.max(textWidth(box.label) + 44, 92), h: 44 };
}

function textWidth(text) {
  let wide = 0;
  for (const c of text) wide += c.charCodeAt(0) > 0x2e80 ? 12 : 7.2;
  return wide;
}

// From places inside boxes to places on the page.
function settle(box, x, y, size, scenes, rects, parts) {
  const scene = scenes.get(box),
    layout = scene.layout;
  rects.set(box, { x, y, w: size.w, h: size.h });
  parts.set(box, { x, y, segments: layout.segments });
  scene.ends.forEach((end, i) => {
    if (end.port) return;
    const [dx, dy, w, h] = layout.rects[i];
    if (end.item.kind === "box" && end.item.open) settle(end.item, x + dx, y + dy, { w, h }, scenes, rects, parts);
    else rects.set(end.item, { x: x + dx, y: y + dy, w, h });
  });
}

// The segments of an edge's links, as a function: a long line has as many as it passes layers, and few are asked for.
function segmentsOf(links, scenes) {
  return () =>
    links.flatMap(([box, link]) =>
      scenes
        .get(box)
        .layout.linkSegments(link)
        .map((segment) => [box, segment]),
    );
}
