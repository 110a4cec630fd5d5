"use strict";
// Numbers of the curves under the pointer, or at the arrow keys; without it the page says the same in less detail.
(function () {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const node = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  };
  const written = (value) => Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3)
    ? value.toExponential(3) : String(+value.toPrecision(5));

  for (const svg of document.querySelectorAll("svg[data-hover]")) {
    const data = JSON.parse(svg.dataset.hover), marks = node("g", {});
    const places = [...new Set(data.s.flatMap((series) => series.p.map((point) => point[0])))].sort((a, b) => a - b);
    let at = places.length - 1;
    svg.append(marks);
    const hide = () => { marks.replaceChildren(); tip.hidden = true; };
    const show = (place) => {
      at = place;
      const x = places[place], rows = [];
      let said = "";
      marks.replaceChildren(node("path", { class: "cursor", d: `M${x} ${data.box[1]}V${data.box[3]}` }));
      for (const series of data.s) {
        const point = series.p.find((each) => each[0] === x);
        if (!point) continue;
        said = `${data.x} ${written(point[2])}`;
        marks.append(node("circle", { class: `ring c${series.c % 10}`, cx: x, cy: point[1], r: 4 }));
        rows.push([series, `${series.n}: ${written(point[3])}`]);
      }
      tip.replaceChildren(said);
      for (const [series, text] of rows) {
        const row = document.createElement("div"), key = document.createElement("i");
        key.className = `key c${series.c % 10}`;
        row.append(key, text);
        tip.append(row);
      }
      tip.hidden = false;
      const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
      const left = box.left + x * scale, width = tip.offsetWidth;
      tip.style.left = `${window.scrollX + Math.max(4, left + width + 18 > innerWidth ? left - width - 12 : left + 12)}px`;
      tip.style.top = `${window.scrollY + box.top + 8}px`;
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      let nearest = 0;
      places.forEach((place, index) => { if (Math.abs(place - x) < Math.abs(places[nearest] - x)) nearest = index; });
      show(nearest);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by) { event.preventDefault(); show(Math.min(places.length - 1, Math.max(0, at + by))); }
      if (event.key === "Escape") hide();
    });
  }
  const folded = [...document.querySelectorAll("details")];
  addEventListener("beforeprint", () => folded.forEach((each) => { each.open = true; }));
})();
