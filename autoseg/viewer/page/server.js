// What the server has: cases, scores, and the layers of a case.

async function answer(name) {
  const found = await fetch(name).catch(() => { throw new Error("The viewer has ended. Start autoseg_view again."); });
  if (!found.ok) {
    const text = await found.text();
    let message = text;
    try { message = JSON.parse(text).error; } catch { /* a refusal is a plain sentence */ }
    throw new Error(message);
  }
  return found;
}

export const cases = async () => (await answer("cases")).json();
export const scores = async () => (await answer("scores")).json();
export const openCase = async (index) => (await answer(`case/${index}`)).json();
export const volume = async (index, layer) => (await answer(`case/${index}/layer/${layer}`)).arrayBuffer();
