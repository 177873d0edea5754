// The state of the page, and what follows from it for a layer.

// What the user chose stays as it is from case to case; the rest belongs to the case on the page.
export const state = {
  view: "planes", sequence: null, isCrosshairShown: true, isCut: false, isSmooth: true,
  visible: { prediction: true, reference: true, difference: false },
  outlined: { prediction: false, reference: true },
  opacity: { prediction: 0.55, reference: 0.9, difference: 0.8, map: 0.7, image: 1 },
  hiddenClasses: new Set(), hiddenDifferences: new Set(),
  index: -1, opened: null, loaded: new Map(), collection: null,
  asked: 0, drawn: 0, // how often a case was asked for and something drawn: what is overtaken by something later is given up
};

export const images = () => state.opened.layers.filter((one) => one.kind === "image");
export const overlays = () => state.opened.layers.filter((one) => one.kind !== "image");
const switchOf = (layer) => (layer.kind === "map" ? `map ${layer.name}` : layer.id);
export const isVisible = (layer) => state.visible[switchOf(layer)] ?? false;
export const kindOf = (layer) => (layer.kind === "map" || layer.kind === "image" ? layer.kind : layer.id);
export const background = () => images().find((one) => one.name === state.sequence) ?? images()[0];

// A lone label map is easier to see filled.
export const isOutlined = (layer) => layer.kind === "labels" && state.outlined[layer.id]
  && (layer.id === "prediction" || state.opened.layers.some((one) => one.id === "prediction" && isVisible(one)));

export function coloursOf(layer) {
  const { classes } = state.opened;
  if (layer.kind === "labels") return classes.map((one) => one.colour);
  if (layer.kind === "difference") return state.collection.differences.flatMap((one) => classes.map(() => one.colour));
  return null;
}

// The values of a label map that are not drawn. In a difference each way to differ has a value for each class.
export function hiddenOf(layer) {
  const { classes } = state.opened;
  const hidden = new Set();
  const ways = layer.kind === "difference" ? state.collection.differences : [null];
  ways.forEach((way, kind) => classes.forEach((one, place) => {
    const isHidden = state.hiddenClasses.has(one.name) || (way && state.hiddenDifferences.has(way.name));
    if (isHidden) hidden.add(kind * classes.length + place + 1);
  }));
  return hidden;
}

export function setVisible(layer, isOn) {
  state.visible[switchOf(layer)] = isOn;
}

export function toggle(set, name, isIn) {
  if (isIn) set.add(name); else set.delete(name);
}
