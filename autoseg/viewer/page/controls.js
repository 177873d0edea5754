// The switches and sliders beside the drawing, for the case on the page.

import { VIEWS } from "./drawing.js";
import { checkbox, fillSet, radio, row, slider, softText } from "./panel.js";
import { background, images, isVisible, kindOf, overlays, setVisible, state, toggle } from "./state.js";

const KEY_OF_LAYER = { prediction: "p", reference: "r", difference: "d" };

const at = (id) => document.getElementById(id);

// `choose` changes the state and draws, `actions` are those of the keys; `problem` is why the case has no scores,
// `review` why autoseg_predict says that it should be looked at.
export function fillPanel({ choose, actions, drawing, problem, review }) {
  const { opened, collection } = state;
  const reasons = review.map((reason) => `To be looked at: ${reason}`);
  at("notes").replaceChildren(...[...collection.notes, ...reasons, ...opened.notes, problem].filter(Boolean).map(paragraph));
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
  fillSet(at("looks"), lookRows({ choose, actions, drawing }));
  for (const view of VIEWS) at(`view-${view.name}`).disabled = opened.is_flat && view.name !== "axial";
}

function lookRows({ choose, actions, drawing }) {
  const rows = [
    row({ label: "crosshair", key: "x", control: checkbox(state.isCrosshairShown, actions.crosshair) }),
    row({ label: "smooth images", control: checkbox(state.isSmooth, (isOn) => { state.isSmooth = isOn; drawing.setSmooth(isOn); }) }),
    row({ label: "brightness", beside: brightnessSlider(drawing) }),
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

function brightnessSlider(drawing) {
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

function paragraph(text) {
  const found = document.createElement("p");
  found.textContent = text;
  return found;
}
