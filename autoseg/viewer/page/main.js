// The page: what the user does to its state, and what is drawn of it.

import { CaseList } from "./caselist.js";
import { fillPanel } from "./controls.js";
import { Drawing, VIEWS } from "./drawing.js";
import { help, listen } from "./keys.js";
import * as server from "./server.js";
import { background, coloursOf, hiddenOf, images, isOutlined, isVisible, kindOf, overlays, setVisible, state, toggle } from "./state.js";

const POLL_MS = 1000;
const at = (id) => document.getElementById(id);

const drawing = new Drawing(at("canvas"), { onPlace: tellPlace });
const list = new CaseList({
  list: at("cases"), metric: at("metric"), structure: at("structure"), order: at("order"), note: at("scores-note"),
  onChoose: open, onSort: tellCase,
});

async function start() {
  for (const view of VIEWS) at("views").append(viewButton(view));
  at("help-keys").append(...help());
  at("help-button").addEventListener("click", actions.help);
  at("screenshot").addEventListener("click", actions.screenshot);
  for (const name of ["previous", "next", "better", "worse"]) at(name).addEventListener("click", actions[name]);
  listen(actions, () => at("help").open);
  await drawing.attach();
  state.collection = await server.cases();
  at("title").textContent = state.collection.title;
  document.title = `${state.collection.title} - autoseg viewer`;
  list.setCases(state.collection.cases);
  await refreshScores();
  await open(list.ordered()[0]);
}

async function refreshScores() {
  const scores = await server.scores();
  list.setScores(scores);
  if (scores.waiting) setTimeout(() => refreshScores().catch(fail), POLL_MS);
}

async function open(index) {
  const asked = ++state.asked;
  busy(`opening ${state.collection.cases[index].id} ...`);
  list.setCurrent(index);
  try {
    const opened = await server.openCase(index);
    if (asked !== state.asked) return;
    Object.assign(state, { index, opened, loaded: new Map() });
    const sequences = images();
    if (!sequences.some((one) => one.name === state.sequence)) state.sequence = sequences[0]?.name ?? null;
    refill();
    tellCase();
    drawing.setView(state.view, { isFlat: opened.is_flat });
    if (await draw() && opened.focus_mm) drawing.lookAt(opened.focus_mm);
  } catch (error) {
    if (asked === state.asked) fail(error);
  }
}

// Draw the layers that are switched on; false if something later overtook it. A layer that cannot be had is said and left out.
async function draw() {
  const mine = ++state.drawn;
  const wanted = [background(), ...overlays().filter(isVisible)].filter(Boolean);
  if (!wanted.length) throw new Error(`${state.opened.id}: nothing of this case can be shown.`);
  const loaded = [];
  const problems = [];
  for (const layer of wanted) {
    try {
      loaded.push(await load(layer));
    } catch (error) {
      if (layer === wanted[0]) throw error;
      problems.push(error.message);
    }
    if (mine !== state.drawn) return false;
  }
  drawing.show(loaded, (layer) => ({
    opacity: state.opacity[kindOf(layer)], hidden: hiddenOf(layer), outlined: isOutlined(layer),
  }));
  at("canvas").setAttribute("aria-label", `${state.opened.id}: ${wanted.map((one) => one.name).join(", ")}`);
  done(problems.join(" "));
  return true;
}

async function load(layer) {
  const { index, loaded } = state;
  if (!loaded.has(layer.id)) {
    const buffer = await server.volume(index, layer.id);
    loaded.set(layer.id, await drawing.load(buffer, layer, coloursOf(layer)));
  }
  return loaded.get(layer.id);
}

function refill() {
  const { id, review } = state.collection.cases[state.index];
  fillPanel({ choose, actions, drawing, review, problem: list.scores.problems[id] });
}

// Change the state, then draw what came of it.
function choose(change, { rebuild = true } = {}) {
  if (!state.opened) return;
  change();
  if (rebuild) keepFocus();
  busy("");
  draw().catch(fail);
}

// The panel is built anew; whoever uses the keyboard must stay where he was.
function keepFocus() {
  const controls = () => [...document.querySelectorAll("aside input")];
  const place = controls().indexOf(document.activeElement);
  refill();
  if (place >= 0) controls()[place]?.focus();
}

function fade(step) {
  choose(() => {
    for (const name of ["prediction", "reference", "difference", "map"]) {
      state.opacity[name] = Math.min(1, Math.max(0, Math.round((state.opacity[name] + step) * 20) / 20));
    }
  });
}

function go(step, order) {
  const found = list.neighbour(step, order);
  if (found !== null) open(found);
}

function showLayer(match) {
  const layers = state.opened?.layers.filter(match) ?? [];
  const isOn = !layers.some(isVisible);
  choose(() => layers.forEach((layer) => setVisible(layer, isOn)));
}

function steer(x, y, z, azimuth, elevation) {
  if (state.view === "render" && z === 0) drawing.turn(azimuth, elevation);
  else drawing.move(x, y, z);
}

const actions = {
  next: () => go(1, list.ordered()),
  previous: () => go(-1, list.ordered()),
  worse: () => (list.hasScores() ? nextWorst(1) : actions.next()),
  better: () => (list.hasScores() ? nextWorst(-1) : actions.previous()),
  sequence: (place) => { const one = state.opened && images()[place]; if (one) choose(() => { state.sequence = one.name; }); },
  class: (place) => {
    const one = state.opened?.classes[place];
    if (one) choose(() => toggle(state.hiddenClasses, one.name, !state.hiddenClasses.has(one.name)));
  },
  prediction: () => showLayer((one) => one.id === "prediction"),
  reference: () => showLayer((one) => one.id === "reference"),
  difference: () => showLayer((one) => one.id === "difference"),
  uncertainty: () => showLayer((one) => one.kind === "map"),
  outline: () => choose(() => { state.outlined.prediction = !state.outlined.prediction; }),
  fainter: () => fade(-0.1),
  stronger: () => fade(0.1),
  left: () => steer(-1, 0, 0, -10, 0),
  right: () => steer(1, 0, 0, 10, 0),
  up: () => steer(0, 1, 0, 0, 10),
  down: () => steer(0, -1, 0, 0, -10),
  head: () => steer(0, 0, 1, 0, 0),
  feet: () => steer(0, 0, -1, 0, 0),
  focus: () => state.opened?.focus_mm && drawing.lookAt(state.opened.focus_mm),
  crosshair: () => { state.isCrosshairShown = !state.isCrosshairShown; drawing.setCrosshair(state.isCrosshairShown); keepFocus(); },
  cut: () => { state.isCut = !state.isCut; drawing.setCut(state.isCut); keepFocus(); },
  screenshot: () => screenshot().catch(fail),
  help: () => at("help").showModal(),
};
for (const view of VIEWS) actions[view.name] = () => setView(view.name);

// The first time it leads to the worst case of all.
function nextWorst(step) {
  const order = list.worstFirst();
  if (step > 0 && !state.hasBeenAtWorst) {
    state.hasBeenAtWorst = true;
    open(order[0]);
  } else go(step, order);
}

function setView(name) {
  if (!state.opened || (state.opened.is_flat && name !== "axial")) return;
  state.view = name;
  drawing.setView(name, { isFlat: state.opened.is_flat });
  for (const view of VIEWS) at(`view-${view.name}`).setAttribute("aria-pressed", view.name === name);
}

function viewButton(view) {
  const button = document.createElement("button");
  button.type = "button";
  button.id = `view-${view.name}`;
  button.textContent = view.title;
  button.setAttribute("aria-pressed", view.name === state.view);
  button.setAttribute("aria-keyshortcuts", view.key);
  button.addEventListener("click", () => setView(view.name));
  return button;
}

async function screenshot() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await drawing.picture());
  link.download = `autoseg_${state.opened?.id ?? "empty"}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  say(`saved ${link.download}`);
}

function tellCase() {
  if (state.index < 0) return;
  const score = list.hasScores() ? ` · ${list.scoreTitle()} ${list.scoreText(state.index)}` : "";
  const place = list.ordered().indexOf(state.index) + 1;
  at("case-name").textContent = `${state.collection.cases[state.index].id} (${place} of ${state.collection.cases.length})${score}`;
}

function tellPlace(millimetres, values) {
  const { classes } = state.opened;
  const parts = values.map(({ layer, value }) => {
    if (layer.kind === "labels") return `${layer.name}: ${classes[value - 1]?.name ?? "background"}`;
    if (layer.kind === "difference") {
      const way = state.collection.differences[Math.floor((value - 1) / classes.length)];
      return `difference: ${value ? way.name : "none"}`;
    }
    return `${layer.name} ${Number(value.toPrecision(4))}`;
  });
  at("place").textContent = [`${millimetres.map((one) => one.toFixed(1)).join(", ")} mm`, ...parts].join(" · ");
}

function say(text) { at("status").textContent = text; }
function busy(text) { at("stage").setAttribute("aria-busy", "true"); say(text); }
function done(text) { at("stage").setAttribute("aria-busy", "false"); say(text); }
function fail(error) { at("stage").setAttribute("aria-busy", "false"); say(error.message); }

start().catch(fail);
