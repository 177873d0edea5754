// Keyboard short cuts: one table, from which the help is made too.

import { keyCap } from "./panel.js";

// `does` are functions by name; a key without a function in it does nothing.
export const KEYS = [
  { keys: ["n", "b"], text: "next and previous case in the list", does: ["next", "previous"] },
  { keys: ["w", "q"], text: "next worst case, and back to a worse one", does: ["worse", "better"] },
  { keys: ["1", "9"], isRange: true, text: "image (sequence)", does: ["sequence"] },
  { keys: ["Shift 1", "Shift 9"], isRange: true, text: "class on or off", does: ["class"] },
  { keys: ["p", "r"], text: "prediction, reference on or off", does: ["prediction", "reference"] },
  { keys: ["d", "u"], text: "difference, uncertainty on or off", does: ["difference", "uncertainty"] },
  { keys: ["o"], text: "prediction as outline or filled", does: ["outline"] },
  { keys: ["-", "+"], text: "opacity of all layers", does: ["fainter", "stronger"] },
  { keys: ["v", "a", "c", "s", "t"], text: "three planes, axial, coronal, sagittal, 3-D", does: ["planes", "axial", "coronal", "sagittal", "render"] },
  { keys: ["ArrowLeft", "ArrowRight"], text: "crosshair to the right or left of the patient; turns in 3-D", does: ["left", "right"] },
  { keys: ["ArrowUp", "ArrowDown"], text: "crosshair to the front or back; tilts in 3-D", does: ["up", "down"] },
  { keys: ["PageUp", "PageDown"], text: "crosshair to the head or feet", does: ["head", "feet"] },
  { keys: ["f"], text: "crosshair to the largest disagreement, or structure", does: ["focus"] },
  { keys: ["x"], text: "crosshair on or off", does: ["crosshair"] },
  { keys: ["k"], text: "3-D cut open or whole", does: ["cut"] },
  { keys: ["e"], text: "screenshot", does: ["screenshot"] },
  { keys: ["?", "h"], text: "this help", does: ["help", "help"] },
];

const TYPED = ["INPUT", "SELECT", "TEXTAREA"];
const ARROWS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "PageUp", "PageDown"];

export function listen(does, isBusy) {
  // Caught on the way down, before NiiVue, which has short cuts of its own, sees the key.
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || isBusy()) return;
    if (isTaken(event)) return;
    const action = actionOf(event, does);
    if (!action) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    action();
  }, { capture: true });
}

// Controls keep the keys that they need themselves, and lists can be scrolled.
function isTaken(event) {
  const target = event.target;
  if (target.tagName === "SELECT") return true;
  if (TYPED.includes(target.tagName)) return ARROWS.includes(event.key) || event.key === " ";
  return target.id !== "canvas" && target !== document.body && ARROWS.includes(event.key);
}

function actionOf(event, does) {
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
  if (digit) return () => does[event.shiftKey ? "class" : "sequence"](Number(digit[1]) - 1);
  const key = event.key === "=" ? "+" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  for (const { keys, does: names, isRange } of KEYS) {
    const place = isRange ? -1 : keys.indexOf(key);
    if (place >= 0) return does[names[place]];
  }
  return null;
}

export function help() {
  return KEYS.map(({ keys, isRange, text }) => {
    const row = document.createElement("tr");
    const left = document.createElement("th");
    left.scope = "row";
    keys.forEach((key, index) => {
      if (index) left.append(isRange ? " to " : " ");
      left.append(keyCap(key.replace("Arrow", "").replace("Page", "Page ")));
    });
    const right = document.createElement("td");
    right.textContent = text;
    row.append(left, right);
    return row;
  });
}
