// Where the boxes of a graph without circles stand: rows by the longest way from the start, few
// crossings, edges short and straight. Pure, so that it is tested without a browser.

/** Rounds of ordering and of placing. */
const ROUNDS = 40;
/** Most links of a graph whose neighbours are swapped one by one. */
const MOST_SWAPPED = 150;

/**
 * `nodes` are ids in an order that the edges follow, `edges` pairs of them. Gives
 * `{ width, height, places: Map(id -> { x, y, row }), lines: [{ from, to, points }] }`, `x` and `y`
 * the middle of a box. Edges that others imply are left out.
 */
export function layout(nodes, edges, { width, height, gapX, gapY }) {
  const kept = reduced(nodes, edges);
  const row = rows(nodes, kept);
  const { ranks, links, chains } = split(nodes, kept, row);
  order(ranks, links);
  const x = place(ranks, links, (item) => (item.isBend ? gapX : width), gapX);
  const left = Math.min(...ranks.flat().map((item) => x.get(item) - half(item, width)));
  const right = Math.max(...ranks.flat().map((item) => x.get(item) + half(item, width)));
  const y = (item) => item.row * (height + gapY) + height / 2;
  const places = new Map();
  for (const item of ranks.flat()) {
    if (!item.isBend) places.set(item.id, { x: x.get(item) - left, y: y(item), row: item.row });
  }
  const lines = chains.map(({ from, to, items }) => ({
    from,
    to,
    points: items.map((item) => ({ x: x.get(item) - left, y: y(item), isBend: item.isBend })),
  }));
  return {
    width: right - left,
    height: Math.max(0, ranks.length * (height + gapY) - gapY),
    places,
    lines,
  };
}

const half = (item, width) => (item.isBend ? 0 : width / 2);

/** Edges without those that a longer way says too. */
export function reduced(nodes, edges) {
  const known = new Set(nodes);
  const after = new Map(nodes.map((id) => [id, new Set()]));
  for (const [from, to] of edges)
    if (known.has(from) && known.has(to) && from !== to) after.get(from).add(to);
  const reach = new Map();
  const reachOf = (id) => {
    if (!reach.has(id)) {
      const all = new Set();
      reach.set(id, all);
      for (const next of after.get(id)) {
        all.add(next);
        for (const far of reachOf(next)) all.add(far);
      }
    }
    return reach.get(id);
  };
  return nodes.flatMap((from) => {
    const direct = [...after.get(from)];
    return direct
      .filter((to) => !direct.some((other) => other !== to && reachOf(other).has(to)))
      .map((to) => [from, to]);
  });
}

function rows(nodes, edges) {
  const row = new Map(nodes.map((id) => [id, 0]));
  // As many rounds as the longest way has steps.
  for (let round = 0; round < nodes.length; round += 1) {
    let moved = false;
    for (const [from, to] of edges) {
      if (row.get(to) <= row.get(from)) {
        row.set(to, row.get(from) + 1);
        moved = true;
      }
    }
    if (!moved) break;
  }
  // What nothing leads to stands right above what it leads to, not at the top.
  for (const id of nodes) {
    const out = edges.filter(([from]) => from === id);
    if (out.length > 0 && !edges.some(([, to]) => to === id)) {
      row.set(id, Math.min(...out.map(([, to]) => row.get(to))) - 1);
    }
  }
  return row;
}

/** The rows with a bend in each that an edge passes by. */
function split(nodes, edges, row) {
  const ranks = Array.from({ length: Math.max(...row.values(), 0) + 1 }, () => []);
  const items = new Map();
  for (const id of nodes) {
    const item = { id, row: row.get(id), isBend: false };
    items.set(id, item);
    ranks[item.row].push(item);
  }
  const links = [];
  const chains = edges.map(([from, to]) => {
    const chain = [items.get(from)];
    for (let at = row.get(from) + 1; at < row.get(to); at += 1) {
      const bend = { id: `${from} ${to} ${at}`, row: at, isBend: true };
      ranks[at].push(bend);
      chain.push(bend);
    }
    chain.push(items.get(to));
    for (let at = 1; at < chain.length; at += 1) links.push([chain[at - 1], chain[at]]);
    return { from, to, items: chain };
  });
  return { ranks, links, chains };
}

function neighbours(links) {
  const up = new Map();
  const down = new Map();
  const push = (map, key, value) => map.set(key, [...(map.get(key) ?? []), value]);
  for (const [from, to] of links) {
    push(down, from, to);
    push(up, to, from);
  }
  return { up, down };
}

function crossings(ranks, links) {
  const at = new Map();
  for (const rank of ranks) for (const [index, item] of rank.entries()) at.set(item, index);
  let count = 0;
  for (const [a, b] of links) {
    for (const [c, d] of links) {
      if (a.row === c.row && at.get(a) < at.get(c) && at.get(b) > at.get(d)) count += 1;
    }
  }
  return count;
}

/** Orders each row by the middle of its neighbours, and keeps the order with the fewest crossings. */
function order(ranks, links) {
  const { up, down } = neighbours(links);
  let best = ranks.map((rank) => [...rank]);
  let fewest = crossings(ranks, links);
  for (let round = 0; round < ROUNDS && fewest > 0; round += 1) {
    const isDown = round % 2 === 0;
    const sweep = isDown ? ranks.keys() : [...ranks.keys()].reverse();
    for (const index of sweep) {
      const near = ranks[index + (isDown ? -1 : 1)];
      if (near === undefined) continue;
      const at = new Map(near.map((item, place) => [item, place]));
      const middle = new Map(
        ranks[index].map((item, place) => {
          const found = ((isDown ? up : down).get(item) ?? []).map((other) => at.get(other));
          return [
            item,
            found.length === 0
              ? place
              : found.reduce((sum, value) => sum + value, 0) / found.length,
          ];
        }),
      );
      ranks[index].sort((a, b) => middle.get(a) - middle.get(b));
    }
    const now = crossings(ranks, links);
    if (now < fewest) {
      fewest = now;
      best = ranks.map((rank) => [...rank]);
    }
  }
  for (const [index, rank] of best.entries()) ranks[index] = rank;
  swap(ranks, links, fewest);
}

/** Swaps neighbours of a row as long as that leaves fewer crossings. */
function swap(ranks, links, crossed) {
  if (links.length > MOST_SWAPPED) return;
  let fewest = crossed;
  for (let round = 0; round < ROUNDS && fewest > 0; round += 1) {
    const before = fewest;
    for (const rank of ranks) {
      for (let at = 1; at < rank.length; at += 1) {
        [rank[at - 1], rank[at]] = [rank[at], rank[at - 1]];
        const now = crossings(ranks, links);
        if (now < fewest) fewest = now;
        else [rank[at - 1], rank[at]] = [rank[at], rank[at - 1]];
      }
    }
    if (fewest === before) return;
  }
}

/** How much a link wants to be straight: one that passes by rows most. */
const weight = (a, b) => (a.isBend ? 3 : 1) * (b.isBend ? 3 : 1);

/** Moves each item to the mean of its neighbours, as far as its row lets it. */
function place(ranks, links, widthOf, gap) {
  const { up, down } = neighbours(links);
  const x = new Map();
  for (const rank of ranks) {
    let at = 0;
    for (const item of rank) {
      at += widthOf(item) / 2;
      x.set(item, at);
      at += widthOf(item) / 2 + gap;
    }
    for (const item of rank) x.set(item, x.get(item) - (at - gap) / 2);
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    const sweep = round % 2 === 0 ? ranks.keys() : [...ranks.keys()].reverse();
    for (const index of sweep) {
      const rank = ranks[index];
      const wanted = rank.map((item) => {
        let [sum, count] = [0, 0];
        for (const other of [...(up.get(item) ?? []), ...(down.get(item) ?? [])]) {
          sum += x.get(other) * weight(item, other);
          count += weight(item, other);
        }
        return count === 0 ? x.get(item) : sum / count;
      });
      const settled = spaced(wanted, rank.map(widthOf), gap);
      for (const [at, item] of rank.entries()) x.set(item, settled[at]);
    }
  }
  return x;
}

/** The nearest positions to those wanted that keep their order and their distance. */
export function spaced(wanted, widths, gap) {
  let offset = 0;
  const offsets = widths.map((width, at) => {
    if (at > 0) offset += widths[at - 1] / 2 + gap + width / 2;
    return offset;
  });
  // Pools of neighbours that would overlap: each stands at the mean of what its members want.
  const pools = [];
  for (const [at, value] of wanted.entries()) {
    let pool = { sum: value - offsets[at], count: 1 };
    while (pools.length > 0 && pools.at(-1).sum / pools.at(-1).count >= pool.sum / pool.count) {
      const before = pools.pop();
      pool = { sum: before.sum + pool.sum, count: before.count + pool.count };
    }
    pools.push(pool);
  }
  const positions = pools.flatMap(({ sum, count }) => Array(count).fill(sum / count));
  return positions.map((position, at) => position + offsets[at]);
}
