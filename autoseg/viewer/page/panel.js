// Switches and sliders: rows of a fieldset, built anew for each case from what it has.

export function fillSet(fieldset, rows) {
  fieldset.replaceChildren(fieldset.querySelector("legend"), ...rows);
  fieldset.hidden = rows.length === 0;
}

export function row({ label, control, colour = null, key = null, beside = null }) {
  const found = document.createElement("div");
  found.className = beside ? "row" : "row wide";
  const text = document.createElement("label");
  if (control) text.append(control);
  if (colour) text.append(swatch(colour));
  const name = document.createElement("span");
  name.textContent = label;
  text.append(name);
  if (key) text.append(keyCap(key));
  found.append(text);
  if (beside) found.append(beside);
  return found;
}

export function checkbox(isOn, onChange) {
  const found = document.createElement("input");
  found.type = "checkbox";
  found.checked = isOn;
  found.addEventListener("change", () => onChange(found.checked));
  return found;
}

export function radio(group, isOn, onChange) {
  const found = document.createElement("input");
  found.type = "radio";
  found.name = group;
  found.checked = isOn;
  found.addEventListener("change", () => found.checked && onChange());
  return found;
}

export function slider(name, { value, low, high, step, onInput }) {
  const found = document.createElement("input");
  found.type = "range";
  found.setAttribute("aria-label", name);
  Object.assign(found, { min: low, max: high, step, value });
  found.addEventListener("input", () => onInput(Number(found.value)));
  return found;
}

export function softText(text) {
  const found = document.createElement("span");
  found.className = "soft";
  found.textContent = text;
  return found;
}

export function keyCap(key) {
  const found = document.createElement("kbd");
  found.textContent = key;
  return found;
}

function swatch(colour) {
  const found = document.createElement("span");
  found.className = "swatch";
  found.style.backgroundColor = `rgb(${colour.join(" ")})`;
  return found;
}
