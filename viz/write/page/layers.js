// The layout of one box: ends (rectangles and ports) in layers from left to right, and the segments of its links.

class Layers {
  constructor(ends, links, title) {
    this.ends = ends;
    this.links = links;
    this.title = title;
    this.rank = this.ranks();
    this.cells = ends.map((end, i) => ({
      h: end.h,
      end: i,
      line: Boolean(end.port),
      timed: end.timed,
      rank: this.rank[i],
      left: [],
      right: [],
    }));
    this.chains = new Map(); // bundle -> the cells through which its line passes, by rank
    this.paths = links.map((link) => this.thread(link));
    this.rows = this.sorted();
    this.heights();
    this.columns();
  }

  // The layer of every end: behind all that it reads. What reads nothing stands right before its first reader. Where
  // links go round in a circle, those that lead back to an earlier end do not count.
  ranks() {
    const n = this.ends.length,
      rank = new Array(n).fill(0),
      waiting = new Array(n).fill(0),
      out = this.ends.map(() => []);
    this.links.forEach((link) => {
      out[link.a].push(link);
      waiting[link.b]++;
    });
    const done = new Array(n).fill(false),
      ready = [];
    let left = n,
      next = 0;
    for (let i = 0; i < n; i++) if (!waiting[i]) ready.push(i);
    while (left) {
      if (!ready.length) {
        while (done[next]) next++;
        ready.push(next);
      }
      const i = ready.pop();
      if (done[i]) continue;
      done[i] = true;
      left--;
      for (const link of out[i]) {
        link.back = done[link.b];
        if (link.back) continue;
        rank[link.b] = Math.max(rank[link.b], rank[i] + 1);
        if (!--waiting[link.b]) ready.push(link.b);
      }
    }
    return this.shifted(rank, out);
  }

  shifted(rank, out) {
    const entered = new Set(this.links.filter((l) => !l.back).map((l) => l.b));
    const ports = this.ends.some((e) => e.port === "i") ? 1 : 0;
    this.ends.forEach((end, i) => {
      const readers = out[i].filter((l) => !l.back).map((l) => rank[l.b]);
      if (!end.port && !entered.has(i))
        rank[i] = Math.max(readers.length ? readers.reduce((a, b) => Math.min(a, b)) - 1 : 0, 0);
    });
    if (ports && this.ends.some((e, i) => !e.port && rank[i] === 0))
      rank = rank.map((r, i) => (this.ends[i].port === "i" ? 0 : r + 1));
    const last = rank.reduce((a, b, i) => (this.ends[i].port === "o" ? a : Math.max(a, b)), 0) + 1;
    return rank.map((r, i) => (this.ends[i].port === "o" ? last : r));
  }

  // The cells from one end of a link to the other. Links of one source pass through the same cells on their way; where
  // one end collects from many, those to it do. Only what no earlier link has laid is walked.
  thread(link) {
    const a = this.cells[link.a],
      b = this.cells[link.b];
    if (link.back || b.rank <= a.rank) return { back: true };
    this.fans = this.fans || this.countFans();
    const many = this.fans.into.get(link.b + " " + link.to);
    const collects = many > 2 && many > this.fans.out.get(link.bundle + " " + link.a);
    const key = collects ? `to ${link.b} ${link.to}` : `from ${link.a} ${link.bundle}`;
    if (!this.chains.has(key)) this.chains.set(key, new Map());
    const path = { chain: this.chains.get(key), collects };
    const ends = [
      { cell: a, y: link.from },
      { cell: b, y: link.to },
    ];
    const inRow = a.rank + 1 === b.rank && this.ends[link.a].row && this.ends[link.b].row;
    if (inRow) ends[0].y = ends[1].y = 0; // the steps of a net stand in a row, whatever goes from one to the next
    const met = this.walk(link, path, (r) => {
      const known = path.chain.has(r);
      if (!known) {
        const cell = { h: LINE, end: -1, line: true, rank: r, left: [], right: [], number: this.cells.length };
        this.cells.push(cell);
        path.chain.set(r, cell);
      }
      const end = { cell: path.chain.get(r), y: LINE / 2 };
      if (collects) join(ends[0], end);
      else join(end, ends[1]);
      ends[collects ? 0 : 1] = end;
      return known;
    });
    if (!met) join(ends[0], ends[1]);
    return path;
  }

  // Visit the layers between a link's ends, from the end that is its own, until `visit` says that it was there before.
  walk(link, path, visit) {
    const low = this.rank[link.a] + 1,
      high = this.rank[link.b] - 1;
    if (path.collects) for (let r = low; r <= high; r++) if (visit(r)) return true;
    if (!path.collects) for (let r = high; r >= low; r--) if (visit(r)) return true;
    return false;
  }

  countFans() {
    const into = new Map(),
      out = new Map(),
      count = (map, key) => map.set(key, (map.get(key) || 0) + 1);
    for (const link of this.links) {
      count(into, link.b + " " + link.to);
      count(out, link.bundle + " " + link.a);
    }
    return { into, out };
  }

  // Cells by layer, in an order with few crossings: each is moved to the middle of its neighbours, to and fro.
  sorted() {
    const rows = [];
    for (const cell of this.cells) (rows[cell.rank] = rows[cell.rank] || []).push(cell);
    for (let r = 0; r < rows.length; r++) rows[r] = rows[r] || [];
    const number = (row) =>
      row.forEach((cell, i) => {
        cell.order = (i + 0.5) / row.length;
      });
    rows.forEach(number);
    for (let sweep = 0; sweep < SWEEPS; sweep++) {
      const side = sweep % 2 ? "right" : "left";
      const order = sweep % 2 ? [...rows].reverse() : rows;
      for (const row of order) {
        for (const cell of row) {
          const near = cell[side];
          cell.target = near.length
            ? near.reduce((sum, n) => sum + n.cell.order + n.there / n.cell.h / 1e3, 0) / near.length
            : cell.order;
        }
        row.sort((p, q) => p.target - q.target);
        number(row);
      }
    }
    return rows;
  }

  // Heights: every cell as near as it can be to where its links run straight, in its layer's order and without overlap.
  heights() {
    for (const row of this.rows) {
      let y = 0;
      row.forEach((cell, i) => {
        cell.y = y;
        y += cell.h + gap(cell, row[i + 1]);
      });
      for (const cell of row) cell.y -= y / 2;
    }
    for (let sweep = 0; sweep < SWEEPS; sweep++) {
      const order = sweep % 2 ? [...this.rows].reverse() : this.rows;
      for (const row of order) spread(row, [sweep % 2 ? "right" : "left"]);
    }
    for (const row of this.rows) spread(row, ["left", "right"]);
    for (const row of this.rows) spread(row, ["left"], (cell) => cell.line || cell.timed); // what is long runs straight
    const top = this.cells.reduce((least, cell) => Math.min(least, cell.y), Infinity);
    for (const cell of this.cells) cell.y += HEAD + PAD - top;
  }

  columns() {
    let x = this.rows[0] && this.rows[0].every((cell) => cell.end >= 0 && this.ends[cell.end].port) ? 0 : PAD;
    this.left = [];
    this.wide = [];
    this.rows.forEach((row, r) => {
      this.wide[r] = row.reduce((most, cell) => Math.max(most, cell.end >= 0 ? this.ends[cell.end].w : 0), 0);
      this.left[r] = x;
      x += this.wide[r] + BETWEEN;
    });
    const ports =
      this.rows.length && this.rows[this.rows.length - 1].every((cell) => cell.end >= 0 && this.ends[cell.end].port);
    this.width = Math.max(x - BETWEEN + (ports ? 0 : PAD), textWidth(this.title) + 44);
  }

  result() {
    const tall = this.cells.reduce((most, cell) => Math.max(most, cell.y + cell.h), HEAD + PAD) + PAD;
    const rects = this.ends.map((end, i) => {
      const r = this.rank[i],
        x = end.port === "o" ? this.width : end.port ? 0 : this.left[r] + (this.wide[r] - end.w) / 2;
      return [x, this.cells[i].y, end.w, end.h];
    });
    this.segments = [];
    this.made = new Map();
    const starts = this.links.map((link, i) => this.draw(link, this.paths[i], rects));
    return {
      w: this.width,
      h: tall,
      rects,
      segments: this.segments,
      heights: this.ends.map((end, i) => this.cells[i].y + end.h / 2),
      linkSegments: (i) => this.alongLink(this.links[i], this.paths[i], starts[i]),
    };
  }

  // Make the segments of a link that no other has made; returns the last one, which is its own.
  draw(link, path, rects) {
    const [ax, ay, aw] = rects[link.a],
      [bx, by] = rects[link.b];
    const x0 = ax + aw,
      y0 = ay + link.from,
      x1 = bx,
      y1 = by + link.to;
    const arrow = Boolean(this.ends[link.b].leaf);
    if (path.back) return this.add(roundabout(x0, y0, x1, y1), link, arrow);
    const first = this.rank[link.a] + 1,
      last = this.rank[link.b] - 1;
    const right = (r) => (r < first ? [x0, y0] : [this.left[r] + this.wide[r], path.chain.get(r).y + LINE / 2]);
    this.walk(link, path, (r) => {
      const key = this.segmentKey(link, path, r);
      if (this.made.has(key)) return true;
      this.made.set(key, this.add(curve(...right(r - 1), this.left[r], ...right(r).reverse()), link, false));
      return false;
    });
    const key = `end ${link.b} ${link.to}`,
      shared = path.collects && last >= first;
    if (!shared) return this.add(curve(...right(last), x1, y1, x1), link, arrow);
    if (!this.made.has(key)) this.made.set(key, this.add(curve(...right(last), x1, y1, x1), link, arrow));
    return this.made.get(key);
  }

  add(shape, link, arrow) {
    this.segments.push({ ...shape, role: link.role, arrow });
    return this.segments.length - 1;
  }

  // The segment that ends in a layer is named by the cell there; where a link enters a line of others, by the link.
  segmentKey(link, path, r) {
    const cell = path.chain.get(r).number;
    return path.collects && r === this.rank[link.a] + 1 ? `${cell} ${link.a} ${link.from}` : cell;
  }

  alongLink(link, path, last) {
    const segments = [];
    if (!path.back) {
      for (let r = this.rank[link.a] + 1; r < this.rank[link.b]; r++)
        segments.push(this.made.get(this.segmentKey(link, path, r)));
    }
    return [...segments, last];
  }
}

function join(a, b) {
  if (a.cell.right.some((n) => n.cell === b.cell && n.here === a.y && n.there === b.y)) return;
  a.cell.right.push({ cell: b.cell, here: a.y, there: b.y });
  b.cell.left.push({ cell: a.cell, here: b.y, there: a.y });
}

// Lines may lie close to one another, boxes not.
function gap(a, b) {
  return a.line && b && b.line ? 2 : APART;
}

// Move the cells of a layer (or those that may move) as near as can be (least squares) to where their links to neighbours
// on these sides run straight.
function spread(row, sides, moves = () => true) {
  const blocks = [];
  let below = 0;
  row.forEach((cell, i) => {
    const near = moves(cell)
      ? neighbours(
          cell,
          sides.flatMap((side) => cell[side]),
        )
      : [];
    const weight = near.length * (cell.line ? 4 : 1);
    const sum = near.reduce((total, n) => total + n.cell.y + n.there - n.here, 0) * (cell.line ? 4 : 1);
    const target = weight ? sum / weight : cell.y;
    blocks.push({ cells: [cell], sum: (target - below) * (weight || 0.1), weight: weight || 0.1, offset: [below] });
    below += cell.h + gap(cell, row[i + 1]);
    while (blocks.length > 1 && mean(blocks[blocks.length - 2]) > mean(blocks[blocks.length - 1])) {
      const last = blocks.pop(),
        into = blocks[blocks.length - 1];
      into.cells.push(...last.cells);
      into.offset.push(...last.offset);
      into.sum += last.sum;
      into.weight += last.weight;
    }
  });
  for (const block of blocks)
    block.cells.forEach((cell, i) => {
      cell.y = mean(block) + block.offset[i];
    });
}

// The neighbours that a cell is aligned with: for a line those that continue it, for a box other boxes; all, if it has none of
// its kind.
function neighbours(cell, near) {
  const own = near.filter((n) => n.cell.line === cell.line);
  return own.length ? own : near;
}

function mean(block) {
  return block.sum / block.weight;
}

// From a point to the left of a layer at a height, and on to its right.
function curve(x0, y0, x1, y1, x2) {
  const middle = tenth((x0 + x1) / 2),
    [a, b, c, d, e] = [x0, y0, x1, y1, x2].map(tenth);
  const path =
    Math.abs(b - d) < 0.2
      ? `M${a} ${b}H${e}`
      : `M${a} ${b}C${middle} ${b} ${middle} ${d} ${c} ${d}` + (e > c ? `H${e}` : "");
  return { d: path, box: [a, Math.min(b, d), e, Math.max(b, d)] };
}

// An arrow that leads back: out to the right, below, and in from the left.
function roundabout(x0, y0, x1, y1) {
  const low = Math.max(y0, y1) + 40;
  const points = [x0 + 50, low, x1 - 50, low, x1, y1].map(tenth).join(" ");
  const d = `M${tenth(x0)} ${tenth(y0)}C${points}`;
  return { d, box: [x1 - 50, Math.min(y0, y1), x0 + 50, low] };
}
