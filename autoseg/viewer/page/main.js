// The page: one state, what the user does to it, and what is drawn of it.

import { CaseList } from "./caselist.js";
import { Drawing, VIEWS } from "./drawing.js";
import { help, listen } from "./keys.js";
import { checkbox, fillSet, radio, row, slider, softText } from "./panel.js";
import * as server from "./server.js";

const POLL_MS = 1000;
const KEY_OF_LAYER = { prediction: "p", reference: "r", difference: "d" };
const at = (id) => document.getElementById(id);

// What the user chose stays as it is from case to case; the rest belongs to the case on the page.
const state = {
  view: "planes", sequence: null, isCrosshairShown: true, isCut: false, isSmooth: true,
  visible: { prediction: true, reference: true, difference: false },
  outlined: { prediction: false, reference: true },
  opacity: { prediction: 0.55, reference: 0.9, difference: 0.8, map: 0.7, image: 1 },
  hiddenClasses: new Set(), hiddenDifferences: new Set(),
  index: -1, opened: null, loaded: new Map(), asked: 0, collection: null,
};

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
    fillPanel();
    await draw(asked);
    if (asked !== state.asked) return;
    drawing.setView(state.view, { isFlat: opened.is_flat });
    if (opened.focus_mm) drawing.lookAt(opened.focus_mm);
    tellCase();
    done();
  } catch (error) {
    if (asked === state.asked) fail(error);
  }
}

const images = () => state.opened.layers.filter((one) => one.kind === "image");
const overlays = () => state.opened.layers.filter((one) => one.kind !== "image");
const isVisible = (layer) => state.visible[layer.kind === "map" ? layer.name : layer.id] ?? false;
const kindOf = (layer) => (layer.kind === "map" || layer.kind === "image" ? layer.kind : layer.id);
const background = () => images().find((one) => one.name === state.sequence) ?? images()[0];

// A lone label map is easier to see filled.
const isOutlined = (layer) => layer.kind === "labels" && state.outlined[layer.id]
  && (layer.id === "prediction" || state.opened.layers.some((one) => one.id === "prediction" && isVisible(one)));

async function draw(asked = state.asked) {
  const wanted = [background(), ...overlays().filter(isVisible)].filter(Boolean);
  if (!wanted.length) throw new Error(`${state.opened.id}: nothing of this case can be shown.`);
  const loaded = [];
  for (const layer of wanted) loaded.push(await load(layer));
  if (asked !== state.asked) return;
  drawing.show(loaded, (layer) => ({
    opacity: state.opacity[kindOf(layer)], hidden: hiddenOf(layer), outlined: isOutlined(layer),
  }));
  at("canvas").setAttribute("aria-label", `${state.opened.id}: ${wanted.map((one) => one.name).join(", ")}`);
}

async function load(layer) {
  const { index, loaded } = state;
  if (!loaded.has(layer.id)) {
    const buffer = await server.volume(index, layer.id);
    loaded.set(layer.id, await drawing.load(buffer, layer, coloursOf(layer)));
  }
  return loaded.get(layer.id);
}

function coloursOf(layer) {
  const { classes } = state.opened;
  if (layer.kind === "labels") return classes.map((one) => one.colour);
  if (layer.kind === "difference") return state.collection.differences.flatMap((one) => classes.map(() => one.colour));
  return null;
}

// The values of a label map that are not drawn. In a difference each way to differ has a value for each class.
function hiddenOf(layer) {
  const { classes } = state.opened;
  const hidden = new Set();
  const ways = layer.kind === "difference" ? state.collection.differences : [null];
  ways.forEach((way, kind) => classes.forEach((one, place) => {
    const isHidden = state.hiddenClasses.has(one.name) || (way && state.hiddenDifferences.has(way.name));
    if (isHidden) hidden.add(kind * classes.length + place + 1);
  }));
  return hidden;
}

function fillPanel() {
  const { opened, collection } = state;
  const notes = [...collection.notes, ...opened.notes, list.scores.problems[opened.id]].filter(Boolean);
  at("notes").replaceChildren(...notes.map(paragraph));
  fillSet(at("sequences"), images().map((layer, place) => row({
    label: layer.name, key: place < 9 ? String(place + 1) : null,
    control: radio("sequence", layer === background(), () => choose(() => { state.sequence = layer.name; })),
  })));
  fillSet(at("layers"), overlays().map((layer) => row({
    label: layer.name, key: KEY_OF_LAYER[layer.id] ?? "u",
    control: checkbox(isVisible(layer), (isOn) => choose(() => setVisible(layer, isOn))),
    beside: slider(`opacity of ${layer.name}`, {
      value: state.opacity[kindOf(layer)], low: 0, high: 1, step: 0.05,
      onInput: (value) => choose(() => { state.opacity[kindOf(layer)] = value; }, { rebuild: false }),
    }),
  })));
  at("classes-unit").textContent = volumesLegend();
  fillSet(at("classes"), opened.classes.map((one, place) => row({
    label: one.name, colour: one.colour, key: place < 9 ? `⇧${place + 1}` : null,
    control: checkbox(!state.hiddenClasses.has(one.name), (isOn) => choose(() => toggle(state.hiddenClasses, one.name, !isOn))),
    beside: softText(volumesText(place)),
  })));
  const hasDifference = opened.layers.some((one) => one.id === "difference");
  fillSet(at("differences"), !hasDifference ? [] : collection.differences.map((one) => row({
    label: one.name, colour: one.colour,
    control: checkbox(!state.hiddenDifferences.has(one.name), (isOn) => choose(() => toggle(state.hiddenDifferences, one.name, !isOn))),
  })));
  fillSet(at("looks"), lookRows());
  for (const view of VIEWS) at(`view-${view.name}`).disabled = opened.is_flat && view.name !== "axial";
}

function lookRows() {
  const rows = [
    row({ label: "crosshair", key: "x", control: checkbox(state.isCrosshairShown, actions.crosshair) }),
    row({ label: "smooth images", control: checkbox(state.isSmooth, (isOn) => { state.isSmooth = isOn; drawing.setSmooth(isOn); }) }),
    row({ label: "brightness", beside: brightnessSlider() }),
    row({
      label: "opacity of the image",
      beside: slider("opacity of the image", {
        value: state.opacity.image, low: 0, high: 1, step: 0.05,
        onInput: (value) => choose(() => { state.opacity.image = value; }, { rebuild: false }),
      }),
    }),
  ];
  const labelMaps = overlays().filter((one) => one.kind === "labels");
  for (const layer of labelMaps.length > 1 ? labelMaps : []) {
    rows.push(row({
      label: `${layer.name} as outline`, key: layer.id === "prediction" ? "o" : null,
      control: checkbox(state.outlined[layer.id], (isOn) => choose(() => { state.outlined[layer.id] = isOn; })),
    }));
  }
  if (!state.opened.is_flat) rows.push(row({ label: "3-D cut open", key: "k", control: checkbox(state.isCut, actions.cut) }));
  return rows;
}

function brightnessSlider() {
  const onInput = (value) => {
    const one = state.loaded.get(background().id);
    if (one) drawing.setWindow(one, one.darkest, one.darkest + (one.brightest - one.darkest) * 2 ** (1 - value));
  };
  return slider("brightness", { value: 1, low: -1, high: 3, step: 0.1, onInput });
}

function volumesLegend() {
  const names = Object.keys(state.opened.volumes_ml);
  return names.length ? `(ml ${names.join(" / ")})` : "";
}

function volumesText(place) {
  const { volumes_ml: volumes } = state.opened;
  const shown = Object.keys(volumes).map((name) => volumes[name][place].toFixed(1));
  return shown.join(" / ");
}

function setVisible(layer, isOn) {
  state.visible[layer.kind === "map" ? layer.name : layer.id] = isOn;
}

function toggle(set, name, isIn) {
  if (isIn) set.add(name); else set.delete(name);
}

// Change the state, then draw what came of it.
function choose(change, { rebuild = true } = {}) {
  if (!state.opened) return;
  change();
  if (rebuild) keepFocus(fillPanel);
  busy("");
  draw().then(done, fail);
}

// The panel is built anew; whoever uses the keyboard must stay where he was.
function keepFocus(rebuild) {
  const controls = () => [...document.querySelectorAll("aside input")];
  const place = controls().indexOf(document.activeElement);
  rebuild();
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
  crosshair: () => { state.isCrosshairShown = !state.isCrosshairShown; drawing.setCrosshair(state.isCrosshairShown); keepFocus(fillPanel); },
  cut: () => { state.isCut = !state.isCut; drawing.setCut(state.isCut); keepFocus(fillPanel); },
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

function paragraph(text) {
  const found = document.createElement("p");
  found.textContent = text;
  return found;
}

function say(text) { at("status").textContent = text; }
function busy(text) { at("stage").setAttribute("aria-busy", "true"); say(text); }
function done() { at("stage").setAttribute("aria-busy", "false"); say(""); }
function fail(error) { at("stage").setAttribute("aria-busy", "false"); say(error.message); }

start().catch(fail);
