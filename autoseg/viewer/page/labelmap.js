// Label maps as they are drawn: without the classes that are switched off, and as outlines where these are wanted.

export function shownLabels(labels, { hidden, outlined, shape }) {
  const kept = hidden.size ? without(labels, hidden) : labels;
  return outlined ? outlines(kept, shape) : kept;
}

function without(labels, hidden) {
  const found = labels.slice();
  const isHidden = new Uint8Array(2 ** (8 * labels.BYTES_PER_ELEMENT));
  for (const value of hidden) isHidden[value] = 1;
  // Most voxels are background: looking a value up costs more than passing it over.
  for (let place = 0; place < found.length; place++) {
    if (found[place] !== 0 && isHidden[found[place]] === 1) found[place] = 0;
  }
  return found;
}

// The voxels with a neighbour of another class in one of the six directions.
function outlines(labels, [columns, rows, slices]) {
  const found = new labels.constructor(labels.length);
  const slice = columns * rows;
  let place = 0;
  for (let z = 0; z < slices; z++) {
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++, place++) {
        const own = labels[place];
        if (own === 0) continue;
        const inside = x > 0 && x < columns - 1 && y > 0 && y < rows - 1
          && labels[place - 1] === own && labels[place + 1] === own
          && labels[place - columns] === own && labels[place + columns] === own
          && (slices === 1 || (z > 0 && z < slices - 1 && labels[place - slice] === own && labels[place + slice] === own));
        if (!inside) found[place] = own;
      }
    }
  }
  return found;
}
