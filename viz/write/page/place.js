// Places for pictures that have their own (unrolled, folded, cell): nodes stay where they are. A closed box keeps its
// frame; arrows that lead into it go straight to its border.
//
// A layout is { rects: item -> rectangle, parts: box -> { x, y, segments }, routes: edge key -> [[box, segment]] }.
// A segment is a piece of an arrow: { d, box: [left, top, right, bottom], role, arrow, label, labelAt, look }.

function placePicture(model) {
  const rects = new Map();
  for (const node of model.nodes) {
    const [x, y] = node.at || [0, 0],
      [w, h] = node.size;
    rects.set(node, { x: x - w / 2, y: -y - h / 2, w, h });
  }
  for (const box of model.boxes) {
    const [left, bottom, right, top] = box.corners || [0, 0, 0, 0];
    rects.set(box, { x: left, y: -top, w: right - left, h: top - bottom });
  }
  const segments = [],
    routes = new Map();
  for (const edge of model.shownEdges()) {
    const own = edge.members[0].tail === edge.tail && edge.members[0].head === edge.head;
    const drawn = own ? edge.members.map(ownSegment) : [straightSegment(edge, rects)];
    routes.set(
      edgeKey(edge),
      drawn.map((_, i) => [model.root, segments.length + i]),
    );
    segments.push(...drawn);
  }
  return { rects, parts: new Map([[model.root, { x: 0, y: 0, segments }]]), routes };
}

function edgeKey(edge) {
  return edge.tail.id + ">" + edge.head.id;
}

function ownSegment(edge) {
  const p = edge.path.map((n, i) => (i % 2 ? -n : n));
  let d = `M${p[0]} ${p[1]}`;
  for (let i = 2; i + 5 < p.length; i += 6) d += `C${p.slice(i, i + 6).join(" ")}`;
  const at = edge.labelAt ? [edge.labelAt[0], -edge.labelAt[1]] : null;
  const xs = p.filter((_, i) => i % 2 === 0),
    ys = p.filter((_, i) => i % 2 === 1);
  const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  return { d, box, role: edge.role, arrow: true, label: edge.label, labelAt: at, look: edge.look };
}

function straightSegment(edge, rects) {
  const a = rects.get(edge.tail),
    b = rects.get(edge.head);
  const [x0, y0] = border(a, b),
    [x1, y1] = border(b, a);
  const box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
  return { d: `M${tenth(x0)} ${tenth(y0)}L${tenth(x1)} ${tenth(y1)}`, box, role: edge.role, arrow: true };
}

// Where the line from the middle of rectangle a to the middle of b leaves a.
function border(a, b) {
  const x = a.x + a.w / 2,
    y = a.y + a.h / 2;
  const dx = b.x + b.w / 2 - x,
    dy = b.y + b.h / 2 - y;
  const part = Math.min(dx ? a.w / 2 / Math.abs(dx) : Infinity, dy ? a.h / 2 / Math.abs(dy) : Infinity, 1);
  return [x + dx * part, y + dy * part];
}

function tenth(n) {
  return Math.round(n * 10) / 10;
}
