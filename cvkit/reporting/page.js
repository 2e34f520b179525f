"use strict";
(() => {
  const table = document.getElementById("per-class");
  if (table) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const names = heads.map((head) => head.textContent.trim());
    const value = (row, column) => {
      const text = row.cells[column].dataset.value;
      return column ? (text === "" ? null : Number(text)) : text;
    };
    const collator = new Intl.Collator(undefined, { numeric: true });
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const first = column ? "descending" : "ascending";
        const other = column ? "ascending" : "descending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        rows.sort((one, two) => {
          const a = value(one, column);
          const b = value(two, column);
          if (a === null || b === null) return (a === null) - (b === null);
          return sign * (column ? a - b : collator.compare(a, b));
        });
        body.append(...rows);
      });
    });
    const field = document.getElementById("filter");
    const shown = document.getElementById("filtered");
    const tests = { "<": (a, b) => a < b, ">": (a, b) => a > b, "=": (a, b) => a === b };
    const matcher = (text) => {
      const found = text.match(/^(.+?)\s*([<>=])\s*([\d.]+)$/);
      const column = found ? names.indexOf(found[1].trim()) : -1;
      if (column > 0) {
        return (row) => {
          const number = value(row, column);
          return number !== null && tests[found[2]](number, Number(found[3]));
        };
      }
      const wanted = text.toLowerCase();
      return (row) => row.cells[0].dataset.value.toLowerCase().includes(wanted);
    };
    field.addEventListener("input", () => {
      const fits = matcher(field.value.trim());
      let count = 0;
      rows.forEach((row) => {
        row.hidden = !fits(row);
        count += !row.hidden;
      });
      shown.textContent = `${count} of ${rows.length}`;
    });
  }

  const viewer = document.getElementById("viewer");
  const samples = [...document.querySelectorAll(".open")];
  let current = 0;
  const show = (place) => {
    current = (place + samples.length) % samples.length;
    const words = samples[current].parentElement.querySelector(".words");
    const pictures = [...samples[current].querySelectorAll(".picture")];
    document.getElementById("viewer-title").textContent = words.querySelector(".path").textContent;
    document.getElementById("viewer-pictures").replaceChildren(
      ...pictures.map((each) => each.cloneNode(true)),
    );
    document.getElementById("viewer-words").replaceChildren(
      ...[...words.querySelectorAll(":scope > span")].map((each) => each.cloneNode(true)),
    );
  };
  samples.forEach((sample, place) => {
    sample.addEventListener("click", () => {
      show(place);
      viewer.showModal();
    });
  });
  const close = () => viewer.close();
  viewer.addEventListener("close", () => samples[current].focus());
  viewer.addEventListener("click", (event) => event.target === viewer && close());
  document.getElementById("close").addEventListener("click", close);
  document.getElementById("previous").addEventListener("click", () => show(current - 1));
  document.getElementById("next").addEventListener("click", () => show(current + 1));
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(current - 1);
    if (event.key === "ArrowRight") show(current + 1);
  });
})();
