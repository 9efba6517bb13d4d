// The live pipeline as a graph: what each stage is waiting for, what it did last, how long it takes,
// and which are off, and why.

import { bytes, h, milliseconds, short, svg, words } from "./dom.js";
import { layout } from "./layout.js";
import { closely, state, trouble } from "./pipelines.js";
import { items } from "./session.js";

/** Sizes of a box, in pixels; a narrow place has narrower ones. */
const BOX = { most: 164, least: 76, height: 54, gapX: 18, gapXLeast: 8, gapY: 30 };
/** Narrowest box that has room for two times. */
const TWO_TIMES = 136;
const REQUEST = "(request)";
const RESPONSE = "(response)";
/** Figures of a stage that are times, by the unit that their names end in. */
const UNITS = { _ms: 1, _us: 0.001, _seconds: 1000, _s: 1000 };

let chosen = null;
let focused = null;
let drawn = "";

/** What can be seen of a pipeline's stages: as the service has them, and as this page saw them. */
function figures(pipeline) {
  const seen = items.filter(
    (item) => item.answered?.pipeline === pipeline.pipeline && item.timings?.size > 0,
  );
  const latest = items
    .filter(
      (item) => item.asked.pipeline === pipeline.pipeline && (item.timings || item.error?.stage),
    )
    .at(-1);
  return new Map(
    pipeline.stages.map((stage) => {
      const times = seen
        .map((item) => item.timings.get(stage.name))
        .filter((ms) => ms !== undefined);
      const own = {
        ...stage,
        ...stage.counters,
        ...stage.times,
        ...stage.duration,
        ...stage.durations,
      };
      return [
        stage.name,
        {
          last: told(own, "last") ?? latest?.timings?.get(stage.name),
          p95: told(own, "p95") ?? quantile(times, 0.95),
          seen: times.length,
          ran: latest?.timings?.has(stage.name) ?? null,
          failed:
            latest?.state !== "answered" && latest?.error?.stage === stage.name
              ? latest.error
              : null,
        },
      ];
    }),
  );
}

/** A time that the service tells, in milliseconds, whatever unit its name ends in. */
function told(own, name) {
  for (const [unit, scale] of Object.entries(UNITS)) {
    for (const key of [
      `${name}${unit}`,
      `${name}_run${unit}`,
      `${name}_duration${unit}`,
      `duration_${name}${unit}`,
    ]) {
      if (typeof own[key] === "number") return own[key] * scale;
    }
  }
  return undefined;
}

function quantile(values, share) {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}

/** What a stage is now: a kind for its colour, and a few words. */
export function stateOf(stage, figure) {
  if (stage.state === "disabled")
    return { kind: "off", text: "off", reason: stage.reason ?? "enabled = false" };
  if (stage.state === "pruned")
    return { kind: "off", text: "left out", reason: stage.reason ?? "its input is off" };
  if (figure.failed !== null)
    return { kind: "failed", text: "failed", reason: figure.failed.message };
  if (figure.ran === false) {
    const reason = stage.if
      ? `its condition did not hold: ${stage.if}`
      : stage.on_demand
        ? "nothing needed what it gives"
        : "it had nothing to do";
    return { kind: "skipped", text: "skipped", reason };
  }
  if (figure.ran === true)
    return {
      kind: "ran",
      text: figure.last === undefined ? "ran" : milliseconds(figure.last),
      reason: null,
    };
  return { kind: "idle", text: ranOf(stage.counters?.ran), reason: null };
}

function ranOf(count) {
  if (!(count > 0)) return "waiting";
  return count === 1 ? "ran once" : `ran ${short(count)} times`;
}

/** Whose output a source is: of `stage.output`, both of which may hold a dot. */
function whose(pipeline) {
  const names = new Set(pipeline.stages.map((stage) => stage.name));
  return (source) => {
    const parts = source.split(".");
    for (let at = parts.length - 1; at > 0; at -= 1) {
      const name = parts.slice(0, at).join(".");
      if (names.has(name)) return name;
      if (name === "request") return REQUEST;
    }
    return null;
  };
}

/** From and to, of every value that goes from one stage to another. */
export function edgesOf(pipeline) {
  const stageOf = whose(pipeline);
  const edges = [];
  const push = (source, to) => {
    const from = stageOf(source);
    if (from !== null && from !== to) edges.push([from, to]);
  };
  for (const stage of pipeline.stages) {
    if (stage.state !== "active") continue;
    for (const input of Object.values(stage.inputs ?? {}))
      for (const source of input.from) push(source, stage.name);
  }
  for (const field of Object.values(pipeline.response ?? {})) {
    for (const source of field.from) if (!source.startsWith("request.")) push(source, RESPONSE);
  }
  return edges;
}

/** Shows the pipelines, while this view is open. */
export function showGraph(place, tools, summary) {
  const { pipelines } = state;
  if (pipelines.length === 0) {
    const why = trouble()?.message ?? "The service has not told of its pipelines yet.";
    summary.textContent = why;
    tools.replaceChildren();
    place.replaceChildren();
    drawn = "";
    return;
  }
  const pipeline = pipelines.find((one) => one.pipeline === chosen) ?? pipelines[0];
  chosen = pipeline.pipeline;
  const off = pipeline.stages.filter((stage) => stage.state !== "active").length;
  const route = pipeline.route ?? "no route";
  const count = pipeline.stages.length;
  summary.textContent = `${route} · ${count} ${count === 1 ? "stage" : "stages"}${off > 0 ? `, ${off} off` : ""}`;
  showTools(tools, place, summary);
  const figure = figures(pipeline);
  const now = JSON.stringify([pipeline, [...figure], place.clientWidth, focused]);
  if (now === drawn) return;
  drawn = now;
  const shape = JSON.stringify([
    pipeline.pipeline,
    pipeline.stages.map((stage) => [stage.name, stage.state]),
    place.clientWidth,
  ]);
  const held = place.querySelector(".graph-box:focus")?.dataset.name;
  const scroll = place.querySelector(".graph-scroll")?.scrollLeft ?? 0;
  const graph = draw(pipeline, figure, place.clientWidth, () => showGraph(place, tools, summary));
  place.replaceChildren(
    h(
      "div",
      { class: "graph-split" },
      h("div", { class: "card graph-card" }, graph, legend()),
      detail(pipeline, figure),
    ),
    budgets(),
  );
  place.dataset.shape = shape;
  place.querySelector(".graph-scroll").scrollLeft = scroll;
  if (held !== undefined)
    [...place.querySelectorAll(".graph-box")].find((box) => box.dataset.name === held)?.focus();
}

function showTools(tools, place, summary) {
  const names = state.pipelines.map((one) => one.pipeline);
  const now = JSON.stringify([names, chosen]);
  if (tools.dataset.now === now && tools.childElementCount > 0) return;
  tools.dataset.now = now;
  if (names.length < 2) return tools.replaceChildren();
  const select = h(
    "select",
    { "aria-label": "Pipeline" },
    ...names.map((name) => h("option", { value: name, text: name })),
  );
  select.value = chosen;
  select.addEventListener("change", () => {
    chosen = select.value;
    focused = null;
    showGraph(place, tools, summary);
  });
  tools.replaceChildren(select);
}

function draw(pipeline, figure, room, again) {
  const edges = edgesOf(pipeline);
  const stages = pipeline.stages.map((stage) => stage.name);
  const inner = Math.max(260, Math.min(room, 760) - 34);
  const options = { width: BOX.most, height: BOX.height, gapX: BOX.gapX, gapY: BOX.gapY };
  const names = [REQUEST, ...stages, RESPONSE];
  // What is off has no edges: it stands below those before it, where it would be.
  const placed = [...edges, ...standIns(pipeline)];
  let plan = layout(names, placed, options);
  while (plan.width > inner && options.width > BOX.least) {
    options.width = Math.max(
      BOX.least,
      Math.min(options.width - 4, Math.floor((options.width * inner) / plan.width)),
    );
    options.gapX = Math.max(BOX.gapXLeast, Math.floor((BOX.gapX * options.width) / BOX.most));
    plan = layout(names, placed, options);
  }
  const shown = new Set(edges.map(([from, to]) => `${from} ${to}`));
  const off = new Set(
    pipeline.stages.filter((stage) => stage.state !== "active").map((stage) => stage.name),
  );
  const lines = plan.lines.map(({ from, to, points }) => {
    const isOff = off.has(from) || off.has(to);
    const isNear = focused !== null && (from === focused || to === focused);
    return svg("path", {
      d: curve(points, BOX.height / 2),
      class: `edge${isOff || !shown.has(`${from} ${to}`) ? " is-off" : ""}${isNear ? " is-near" : ""}`,
    });
  });
  // Not every edge is drawn: those that read of it, or that it reads of, are marked too.
  const linked = new Set(edges.filter((edge) => focused !== null && edge.includes(focused)).flat());
  const box = (name) => {
    const { x, y } = plan.places.get(name);
    const vars = { x: `${x}px`, y: `${y}px`, w: `${options.width}px`, h: `${BOX.height}px` };
    if (name === REQUEST || name === RESPONSE) {
      return h("div", {
        class: `graph-end${linked.has(name) ? " is-linked" : ""}`,
        vars,
        text: name === REQUEST ? "request" : "answer",
      });
    }
    const stage = pipeline.stages.find((one) => one.name === name);
    const one = figure.get(name);
    const { kind, text, reason } = stateOf(stage, one);
    const p95 =
      kind === "ran" && one.p95 !== undefined && options.width >= TWO_TIMES
        ? `p95 ${milliseconds(one.p95)}`
        : null;
    return h(
      "button",
      {
        type: "button",
        class: `graph-box is-${kind}${linked.has(name) ? " is-linked" : ""}`,
        "data-name": name,
        "data-state": kind,
        "aria-pressed": String(focused === name),
        title: reason ?? stage.doc,
        vars,
        on: {
          click: () => {
            focused = focused === name ? null : name;
            again();
          },
        },
      },
      h("span", { class: "graph-name", text: name }),
      reason && h("span", { class: "hidden", text: reason }),
      h(
        "span",
        { class: "graph-note" },
        h("span", { text }),
        p95 && h("span", { class: "graph-p95", text: p95 }),
      ),
      stage.counters?.failed > 0 &&
        h("span", {
          class: "graph-failures",
          title: `failed ${stage.counters.failed} times`,
          text: short(stage.counters.failed),
        }),
    );
  };
  return h(
    "div",
    { class: "graph-scroll", role: "group", "aria-label": `Stages of ${pipeline.pipeline}` },
    h(
      "div",
      { class: "graph", vars: { w: `${plan.width}px`, h: `${plan.height}px` } },
      svg(
        "svg",
        {
          class: "edges",
          width: plan.width,
          height: plan.height,
          viewBox: `0 0 ${plan.width} ${plan.height}`,
          "aria-hidden": "true",
        },
        ...lines,
      ),
      ...names.map(box),
    ),
  );
}

/** Edges that hold what is off in its place: after what it would read, or what is written before it. */
function standIns(pipeline) {
  const stageOf = whose(pipeline);
  const found = [];
  let before = REQUEST;
  for (const stage of pipeline.stages) {
    if (stage.state === "active") {
      before = stage.name;
      continue;
    }
    const sources = Object.values(stage.inputs ?? {}).flatMap((input) => input.from.map(stageOf));
    const read = [...new Set(sources)].filter((name) => name !== null && name !== stage.name);
    for (const from of read.length > 0 ? read : [before]) found.push([from, stage.name]);
    found.push([stage.name, RESPONSE]);
  }
  return found;
}

function curve(points, half) {
  const first = points[0];
  const last = points.at(-1);
  let at = { x: first.x, y: first.y + half };
  let path = `M${at.x},${at.y}`;
  for (const point of points.slice(1)) {
    // A bend is passed straight down, a box is met at its top.
    const top = { x: point.x, y: point.y - half };
    const middle = (at.y + top.y) / 2;
    path += `C${at.x},${middle} ${top.x},${middle} ${top.x},${top.y}`;
    at = top;
    if (point !== last) {
      at = { x: point.x, y: point.y + half };
      path += `L${at.x},${at.y}`;
    }
  }
  return path;
}

function legend() {
  const entry = (kind, text) => h("li", {}, h("i", { class: `legend-box is-${kind}` }), text);
  return h(
    "ul",
    { class: "graph-legend", "aria-label": "Colours" },
    entry("ran", "ran last time"),
    entry("skipped", "skipped"),
    entry("off", "off"),
    entry("failed", "failed"),
  );
}

function detail(pipeline, figure) {
  const stage = pipeline.stages.find((one) => one.name === focused);
  if (stage === undefined) {
    return h(
      "aside",
      { class: "card graph-detail", "aria-label": "Stage" },
      h("h3", { text: "Choose a stage" }),
      h("p", {
        class: "muted",
        text: "It tells what it does, what it reads and gives, and how long it takes.",
      }),
      offList(pipeline, figure),
    );
  }
  const one = figure.get(stage.name);
  const { kind, text, reason } = stateOf(stage, one);
  const facts = [];
  if (stage.uses && stage.uses !== stage.name) facts.push(["Kind", stage.uses]);
  if (stage.if) facts.push(["If", stage.if]);
  if (stage.on_demand) facts.push(["Run", "on demand"]);
  if (one.last !== undefined) facts.push(["Last", milliseconds(one.last)]);
  if (one.p95 !== undefined) facts.push(["95 % within", milliseconds(one.p95)]);
  // Where the file lies is the operator's; its name will do.
  if (stage.from)
    facts.push([
      "From",
      stage.from
        .split(", ")
        .map((place) => place.split("/").pop())
        .join(", "),
    ]);
  for (const [name, value] of Object.entries(stage.counters ?? {})) {
    if (typeof value !== "number" && typeof value !== "string") continue;
    const isBytes = name.endsWith("_bytes") && typeof value === "number";
    facts.push([
      words(name),
      isBytes ? bytes(value) : typeof value === "number" ? short(value) : value,
    ]);
  }
  const port = ([name, { type, doc, from, published }]) =>
    h(
      "li",
      {},
      h("p", {}, h("b", { text: name }), h("span", { class: "muted", text: ` ${type}` })),
      doc && h("p", { class: "hint", text: doc }),
      from?.length > 0 && h("p", { class: "hint", text: `from ${from.join(", else ")}` }),
      published && h("p", { class: "hint", text: `in the answer as ${published}` }),
    );
  const ports = (title, all) => {
    const entries = Object.entries(all ?? {});
    return entries.length === 0
      ? null
      : h("div", {}, h("h4", { text: title }), h("ul", { class: "ports" }, ...entries.map(port)));
  };
  return h(
    "aside",
    // It may be longer than the window, and is scrolled by keys too.
    { class: "card graph-detail", "aria-label": `Stage ${stage.name}`, tabindex: 0 },
    h(
      "div",
      { class: "detail-head" },
      h("h3", { text: stage.name }),
      h("span", { class: `badge state-${kind}`, text }),
    ),
    reason && h("p", { class: `reason is-${kind}`, text: reason }),
    stage.doc && h("p", { class: "muted", text: stage.doc }),
    h(
      "dl",
      { class: "facts tight" },
      ...facts.map(([name, value]) =>
        h("div", {}, h("dt", { text: name }), h("dd", { text: value })),
      ),
    ),
    ports("Reads", stage.inputs),
    ports("Gives", stage.outputs),
  );
}

/** What is not in force, and why: said without a click. */
function offList(pipeline, figure) {
  const off = pipeline.stages
    .map((stage) => ({ stage, now: stateOf(stage, figure.get(stage.name)) }))
    .filter(({ now }) => now.reason !== null);
  if (off.length === 0) return null;
  return h(
    "ul",
    { class: "off-list" },
    ...off.map(({ stage, now }) =>
      h(
        "li",
        {},
        h(
          "p",
          {},
          h("b", { text: stage.name }),
          h("span", { class: `badge state-${now.kind}`, text: now.text }),
        ),
        h("p", { class: "hint", text: now.reason }),
      ),
    ),
  );
}

/** How much of each bound is in use. */
function budgets() {
  const entries = Object.entries(state.budgets).filter(
    ([, one]) => typeof one?.now === "number" && one?.most > 0,
  );
  if (entries.length === 0) return "";
  return h(
    "section",
    { class: "card part", "aria-labelledby": "budgets-title" },
    h("h3", { id: "budgets-title", text: "In use now" }),
    h(
      "div",
      { class: "tiles" },
      ...entries.map(([name, { now, most, ...rest }]) => {
        const isBytes = name.endsWith("bytes");
        const shown = (value) => (isBytes ? bytes(value) : short(value));
        const spent = Object.entries(rest).filter(
          ([, count]) => typeof count === "number" && count > 0,
        );
        return h(
          "div",
          { class: "tile" },
          h("p", { class: "tile-name", text: words(name) }),
          h(
            "p",
            { class: "tile-value" },
            h("span", { text: shown(now) }),
            h("small", { text: `of ${shown(most)}` }),
          ),
          h(
            "div",
            { class: "meter", "aria-hidden": "true", vars: { share: `${(now / most) * 100}%` } },
            h("i", { class: "meter-fill" }),
          ),
          h("p", {
            class: "hint",
            text:
              spent.length === 0
                ? "never spent"
                : spent.map(([what, count]) => `${words(what)} ${short(count)}`).join(", "),
          }),
        );
      }),
    ),
  );
}

/** Looks at the service more often while the graph is seen. */
export function watch(isOpen) {
  closely(isOpen);
  if (isOpen) drawn = "";
}
