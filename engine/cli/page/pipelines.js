// What the service is made of, as it says itself: `GET /pipelines`, the settings in force, readiness.

import { Refused, ask, events as service } from "./service.js";

/** Between two looks, in milliseconds. */
const LOOK = 10_000;
const LOOK_CLOSELY = 2_500;
const LOOK_AFTER_SILENCE = 3_000;

/** Where nothing can be learnt of the pipelines: what the service has always taken. */
const USUAL = {
  pipeline: "classify",
  route: "POST /classify",
  request: { file: "bytes", labels: "text_list", theme: "text" },
  stages: [],
  response: {},
};

/** Tells `pipelines` (something changed) and `ready`. */
export const events = new EventTarget();

export const state = {
  /** As `GET /pipelines` shows them. */
  pipelines: [],
  budgets: {},
  /** As the settings route shows them. */
  settings: {},
  /** `null` until it is known. */
  ready: null,
  isOffline: false,
  facts: {},
};

let isClose = false;
let timer = null;
let shown = "";
let named = "";
let failing = null;

const path = (route) => {
  const [method, path] = route.split(" ");
  return { method, path };
};

/** Fields that a pipeline takes a file by. */
export const filesOf = (pipeline) =>
  Object.entries(pipeline.request ?? {})
    .filter(([, type]) => type === "bytes")
    .map(([name]) => name);

const takesPosts = (pipeline) =>
  typeof pipeline.route === "string" &&
  pipeline.route.startsWith("POST ") &&
  !pipeline.route.includes("{");

/** Those that a picture can be sent to. */
export function forPictures() {
  const found = state.pipelines.filter(
    (pipeline) => takesPosts(pipeline) && filesOf(pipeline).length > 0,
  );
  if (found.length > 0) {
    // The one whose answers can be judged is the one that people come for.
    const rank = (pipeline) => (pipeline.response?.category !== undefined ? 0 : 1);
    return found.sort((a, b) => rank(a) - rank(b));
  }
  return state.pipelines.length > 0 ? [] : [USUAL];
}

/** The settings in force, where they are those of that pipeline. */
export function settingsOf(name) {
  const all = forPictures();
  const to = all.find((one) => one.pipeline === name);
  const own = to?.settings_route;
  const isItsOwn = own === undefined ? to === all[0] : own !== null;
  return isItsOwn ? state.settings : {};
}

/** The path that takes judgements of an answer, where one does. */
export function judging() {
  const found = state.pipelines.find((pipeline) => {
    const request = pipeline.request ?? {};
    return takesPosts(pipeline) && request.image_hash === "text" && request.accepted === "bool";
  });
  if (found !== undefined) return { path: path(found.route).path, fields: found.request };
  if (state.pipelines.length > 0) return null;
  return {
    path: "/feedback",
    fields: { image_hash: "text", theme: "text", accepted: "bool", category: "text" },
  };
}

export const pathOf = (pipeline) => path(pipeline.route).path;

/** Looks more often, while somebody watches. */
export function closely(wanted) {
  if (isClose === wanted) return;
  isClose = wanted;
  if (wanted) look();
}

export async function look({ quiet = true } = {}) {
  clearTimeout(timer);
  try {
    const [pipelines] = await Promise.all([ask("GET", "/pipelines", { quiet }), ready()]);
    failing = null;
    state.pipelines = pipelines.json?.pipelines ?? [];
    state.budgets = pipelines.json?.budgets ?? {};
    const now = JSON.stringify(pipelines.json);
    // Which stages there are, without their counters: the settings may have changed with them.
    const names = JSON.stringify(
      state.pipelines.map(({ pipeline, route, request, stages }) => [
        pipeline,
        route,
        request,
        stages.map(({ name, state }) => [name, state]),
      ]),
    );
    if (names !== named) {
      named = names;
      await settings();
      events.dispatchEvent(new Event("changed"));
    }
    if (now !== shown) {
      shown = now;
      events.dispatchEvent(new Event("pipelines"));
    }
  } catch (error) {
    failing = error;
    if (error instanceof Refused) events.dispatchEvent(new Event("pipelines"));
  } finally {
    schedule();
  }
}

/** Why the pipelines could not be seen at the last look, or null. */
export const trouble = () => failing;

function schedule() {
  clearTimeout(timer);
  const pause = state.isOffline ? LOOK_AFTER_SILENCE : isClose ? LOOK_CLOSELY : LOOK;
  timer = setTimeout(() => (document.hidden ? schedule() : look()), pause);
}

/** A route that not every service has: what it says, or nothing. */
async function maybe(path) {
  try {
    return (await ask("GET", path, { quiet: true })).json ?? {};
  } catch {
    return {};
  }
}

async function settings() {
  const told = state.pipelines.filter((pipeline) => "settings_route" in pipeline);
  const routes = told.map((pipeline) => pipeline.settings_route).filter(Boolean);
  // A service that does not say where they are shows them where they have always been.
  const paths = told.length > 0 ? routes.map((route) => path(route).path) : ["/labels"];
  state.settings = Object.assign({}, ...(await Promise.all(paths.map(maybe))));
}

/** How the service is, and where it is not well, which stages say so. */
async function ready() {
  const { json } = await ask("GET", "/health", { quiet: true });
  state.facts = json ?? {};
  const status = state.facts.status ?? "ready";
  state.ready = { status, failing: [], starting: [], degraded: [] };
  if (status !== "ready") {
    try {
      Object.assign(state.ready, (await ask("GET", "/health/ready", { quiet: true })).json);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      Object.assign(state.ready, error.body);
    }
  }
  events.dispatchEvent(new Event("ready"));
}

service.addEventListener("offline", () => {
  if (state.isOffline) return;
  state.isOffline = true;
  events.dispatchEvent(new Event("ready"));
  schedule();
});
service.addEventListener("online", () => {
  if (!state.isOffline) return;
  state.isOffline = false;
  events.dispatchEvent(new Event("ready"));
  events.dispatchEvent(new Event("back"));
});
service.addEventListener("key", () => look());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});
