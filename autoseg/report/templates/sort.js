// Tables of class "sortable": a button in each heading sorts by that column; what has no number stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const body = table.tBodies[0];
      const numbers = [...body.rows].some((row) => "number" in row.cells[column].dataset);
      const key = (row) => {
        const cell = row.cells[column];
        if (!numbers) return cell.textContent;
        return "number" in cell.dataset ? Number(cell.dataset.number) : null;
      };
      const compare = (one, other) => {
        const [a, b] = [key(one), key(other)];
        if (a === null || b === null) return (a === null) - (b === null);
        const order = numbers ? a - b : a.localeCompare(b, undefined, { numeric: true });
        return descending ? -order : order;
      };
      body.replaceChildren(...[...body.rows].sort(compare));
    });
  });
}
