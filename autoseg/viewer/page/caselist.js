// The list of cases with their scores: sorted by name or worst first, with ways to the neighbours.

const KINDS = ["regions", "labels"];
const MEAN = "mean";

export class CaseList {
  constructor({ list, metric, structure, order, note, onChoose, onSort }) {
    Object.assign(this, { list, metric, structure, order, note, onChoose, onSort });
    this.cases = [];
    this.scores = { metrics: [], structures: { regions: [], labels: [] }, rows: {}, problems: {}, waiting: 0 };
    this.current = -1;
    for (const select of [metric, structure, order]) {
      select.addEventListener("change", () => { this.draw(); this.onSort(); });
    }
  }

  setCases(cases) {
    this.cases = cases;
    this.draw();
  }

  setScores(scores) {
    this.scores = scores;
    fill(this.metric, scores.metrics.map((one) => [one.name, one.heading]));
    // A region may be called like a label, or even "mean", so a name alone would not do.
    const groups = KINDS.filter((kind) => scores.structures[kind].length);
    const means = groups.filter((kind) => scores.structures[kind].length > 1).map((kind) => [`${kind}/${MEAN}`, `mean of ${kind}`]);
    const single = groups.flatMap((kind) => scores.structures[kind].map((name) => [`${kind}/=${name}`, name]));
    fill(this.structure, [...means, ...single]);
    const known = Object.keys(scores.rows).length;
    const failed = Object.keys(scores.problems).length;
    this.note.textContent = scores.waiting ? `${scores.waiting} of ${known + failed + scores.waiting} cases still to be compared`
      : failed ? `${failed} of ${known + failed} cases cannot be compared; the page of each says why.`
        : known ? "" : "No case has both a prediction and a reference, so there are no scores.";
    this.metric.closest("div").hidden = known === 0;
    this.draw();
    this.onSort();
  }

  setCurrent(index) {
    this.current = index;
    for (const button of this.list.querySelectorAll("button")) {
      const isCurrent = Number(button.dataset.index) === index;
      button.setAttribute("aria-current", isCurrent);
      if (isCurrent) button.scrollIntoView({ block: "nearest" });
    }
  }

  // The score of a case by the metric and structure chosen; null where it is undefined or unknown.
  score(index) {
    const row = this.scores.rows[this.cases[index]?.id];
    if (!row) return null;
    const kind = KINDS.find((one) => this.structure.value.startsWith(`${one}/`));
    const name = this.structure.value.slice(kind?.length + 1);
    if (name !== MEAN) return row[kind]?.[name.slice(1)]?.[this.metric.value] ?? null;
    const values = Object.values(row[kind] ?? {}).map((one) => one[this.metric.value]).filter((value) => value !== null && value !== undefined);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  }

  scoreText(index) {
    const problem = this.scores.problems[this.cases[index]?.id];
    if (problem) return "error";
    const value = this.score(index);
    const decimals = this.#about()?.decimals ?? 3;
    return value === null ? "–" : value.toFixed(decimals);
  }

  scoreTitle() {
    return [this.#about()?.heading, this.structure.selectedOptions[0]?.text].filter(Boolean).join(", ");
  }

  hasScores() {
    return this.cases.some((_, index) => this.score(index) !== null);
  }

  ordered() {
    const places = this.cases.map((_, index) => index);
    return this.order.value === "worst" ? this.worstFirst() : places;
  }

  // All cases, worst first; those without a score at the end.
  worstFirst() {
    const better = this.#about()?.better ?? null;
    const badness = (index) => {
      const value = this.score(index);
      if (value === null) return -Infinity;
      return better === "high" ? -value : better === "low" ? value : Math.abs(value);
    };
    const bad = this.cases.map((_, index) => badness(index));
    return this.cases.map((_, index) => index).sort((a, b) => (bad[a] === bad[b] ? a - b : bad[b] - bad[a]));
  }

  // The neighbour of the current case, so many steps on in an order; null past either end.
  neighbour(step, order) {
    return order[order.indexOf(this.current) + step] ?? null;
  }

  draw() {
    const rows = this.ordered().map((index) => {
      const row = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.index = index;
      const problem = this.scores.problems[this.cases[index].id];
      if (problem) button.title = problem;
      for (const text of [this.cases[index].id, this.scoreText(index)]) {
        const part = document.createElement("span");
        part.textContent = text;
        button.append(part);
      }
      button.addEventListener("click", () => this.onChoose(index));
      row.append(button);
      return row;
    });
    const focused = document.activeElement?.dataset?.index;
    this.list.replaceChildren(...rows);
    this.setCurrent(this.current);
    if (focused !== undefined) this.list.querySelector(`button[data-index="${focused}"]`)?.focus();
  }

  #about() {
    return this.scores.metrics.find((one) => one.name === this.metric.value);
  }
}

// Options of a select, [value, text]; what is chosen stays chosen.
function fill(select, options) {
  const chosen = select.value;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
  select.disabled = options.length === 0;
}
