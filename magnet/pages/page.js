"use strict";
// Without this script the page shows its tables in their first order and the layers of each image side by side.
document.documentElement.classList.add("scripted");
for (const one of document.querySelectorAll(".tools, .controls")) one.hidden = false;

const figureOf = (row, column) => {
  const text = row.cells[column].textContent.trim();
  return { text, number: Number.parseFloat(text.replace("%", "")) };
};

const sort = (table, column, descending) => {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, ...figureOf(row, column) }));
  const numeric = column > 0 && rows.some(({ number }) => !Number.isNaN(number));
  const sign = descending ? -1 : 1;
  rows.sort((a, b) => {
    if (!numeric) return sign * a.text.localeCompare(b.text, undefined, { numeric: true });
    if (Number.isNaN(a.number) || Number.isNaN(b.number)) return Number.isNaN(a.number) - Number.isNaN(b.number);
    return sign * (a.number - b.number);
  });
  body.append(...rows.map(({ row }) => row));
};

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      // figures begin with the highest, names with the first
      const descending = head.ariaSort ? head.ariaSort === "ascending" : column > 0;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort(table, column, descending);
    });
  });
}

for (const view of document.querySelectorAll(".view")) {
  const slider = view.querySelector("input");
  const layers = [...view.querySelectorAll("figure")];
  const stops = [...view.querySelectorAll("button")];
  // how far layer k has come in from the left, in percent of the width
  const shown = (k) => Math.min(100, Math.max(0, slider.value - 100 * (k - 1)));
  const show = () => {
    layers.forEach((layer, k) => {
      if (k > 0) layer.style.clipPath = `inset(0 ${100 - shown(k)}% 0 ${shown(k + 1)}%)`;
    });
    for (const stop of stops) stop.setAttribute("aria-pressed", stop.dataset.stop === slider.value);
    const below = Math.min(Math.floor(slider.value / 100), stops.length - 1);
    const share = slider.value - 100 * below;
    const names = stops.map((stop) => stop.textContent);
    slider.setAttribute("aria-valuetext", share ? `${names[below + 1]} ${share}%, then ${names[below]}` : names[below]);
  };
  slider.addEventListener("input", show);
  for (const stop of stops) {
    stop.addEventListener("click", () => {
      slider.value = stop.dataset.stop;
      show();
    });
  }
  show();
}

const strength = document.querySelector("#strength");
strength?.addEventListener("input", () => {
  document.documentElement.style.setProperty("--strength", strength.value / 100);
});
