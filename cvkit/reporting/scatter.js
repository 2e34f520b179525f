(() => {
  const source = document.getElementById("map-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const canvas = document.getElementById("map-canvas");
  const card = document.getElementById("map-card");
  const thumb = document.getElementById("map-thumb");
  const told = document.getElementById("map-told");
  const sprite = document.getElementById("map-sprite");
  const legend = document.getElementById("map-legend");
  const find = document.getElementById("map-find");
  const pictures = document.getElementById("map-pictures");
  const pen = canvas.getContext("2d");
  const count = data.names.length;
  const { side, columns } = data;
  const chosen = (id) => document.getElementById(id)?.value; // a reload may keep another one
  let kind = chosen("map-kind") ?? Object.keys(data.maps)[0];
  let colour = chosen("map-colour") ?? Object.keys(data.groupings)[0];
  let zoom = 1;
  let centre = [0.5, 0.5];
  let current = -1;
  let only = -1;
  let found = null;

  const grouping = () => (colour ? data.groupings[colour] : null);
  const groupName = (name, place) => {
    const { names, of } = data.groupings[name];
    return of[place] < 0 ? "–" : names[of[place]];
  };
  const scale = () => zoom * (Math.min(canvas.clientWidth, canvas.clientHeight) - 40);
  const at = (place) => {
    const [x, y] = data.maps[kind][place];
    return [
      canvas.clientWidth / 2 + (x - centre[0]) * scale(),
      canvas.clientHeight / 2 - (y - centre[1]) * scale(),
    ];
  };
  const paint = (place, x, y, size) => {
    const left = side * (place % columns);
    const top = side * Math.floor(place / columns);
    pen.drawImage(sprite, left, top, side, side, x - size / 2, y - size / 2, size, size);
  };
  const hidden = (place) =>
    (found && !found.has(place)) || (only >= 0 && grouping().of[place] !== only);
  const draw = () => {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(canvas);
    const each = grouping();
    const size = Math.max(18, Math.min(side, 22 * Math.sqrt(zoom)));
    const order = [...Array(count).keys()].sort((a, b) => hidden(b) - hidden(a));
    for (const place of order) {
      const [x, y] = at(place);
      if (x < -size || y < -size) continue;
      if (x > canvas.clientWidth + size || y > canvas.clientHeight + size) continue;
      const group = each ? each.of[place] : -1;
      const ink = group < 0 ? style.getPropertyValue("--soft") : each.colours[group];
      pen.globalAlpha = hidden(place) ? 0.12 : 1;
      pen.fillStyle = ink;
      if (pictures.checked) {
        pen.fillRect(x - size / 2 - 2, y - size / 2 - 2, size + 4, size + 4);
        paint(place, x, y, size);
      } else {
        pen.beginPath();
        pen.arc(x, y, 4, 0, 7);
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
    if (current >= 0) {
      const [x, y] = at(current);
      pen.strokeStyle = style.color;
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(x, y, pictures.checked ? size * 0.75 : 8, 0, 7);
      pen.stroke();
    }
  };
  const show = (place) => {
    current = place;
    card.hidden = place < 0;
    if (place >= 0) {
      const words = Object.keys(data.groupings).map((name) => groupName(name, place));
      told.textContent = [data.names[place], ...words].join(" · ");
      const ratio = window.devicePixelRatio || 1;
      thumb.width = thumb.height = Math.round(128 * ratio);
      const left = side * (place % columns);
      const top = side * Math.floor(place / columns);
      const brush = thumb.getContext("2d");
      brush.drawImage(sprite, left, top, side, side, 0, 0, thumb.width, thumb.height);
      const [x, y] = at(place);
      const right = x + 16 + card.offsetWidth < canvas.clientWidth;
      const room = Math.max(0, canvas.clientHeight - card.offsetHeight);
      card.style.left = `${Math.max(0, right ? x + 16 : x - 16 - card.offsetWidth)}px`;
      card.style.top = `${Math.min(room, Math.max(0, y - 20))}px`;
    }
    draw();
  };
  const nearest = (x, y) => {
    let best = -1;
    let least = pictures.checked ? 24 : 14;
    for (let place = 0; place < count; place += 1) {
      if (hidden(place)) continue;
      const [px, py] = at(place);
      const far = Math.hypot(px - x, py - y);
      if (far < least) [best, least] = [place, far];
    }
    return best;
  };
  const zoomTo = (factor, x, y) => {
    const before = scale();
    zoom = Math.min(200, Math.max(0.5, zoom * factor));
    const share = 1 / before - 1 / scale();
    centre[0] += (x - canvas.clientWidth / 2) * share;
    centre[1] -= (y - canvas.clientHeight / 2) * share;
    show(current);
  };
  const middle = (factor) => zoomTo(factor, canvas.clientWidth / 2, canvas.clientHeight / 2);

  const pointers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    show(nearest(event.offsetX, event.offsetY));
  });
  canvas.addEventListener("pointermove", (event) => {
    const here = [event.offsetX, event.offsetY];
    const last = pointers.get(event.pointerId);
    if (!last) {
      const place = nearest(...here);
      if (place !== current) show(place);
      return;
    }
    const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, p]) => p);
    if (others.length) {
      const gap = ([x, y]) => Math.hypot(x - others[0][0], y - others[0][1]) || 1;
      zoomTo(gap(here) / gap(last), ...others[0]);
    } else {
      centre[0] -= (here[0] - last[0]) / scale();
      centre[1] += (here[1] - last[1]) / scale();
      show(current);
    }
    pointers.set(event.pointerId, here);
  });
  const lift = (event) => pointers.delete(event.pointerId);
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => pointers.size || show(-1));
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoomTo(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "+" || event.key === "=") middle(1.5);
    else if (event.key === "-") middle(1 / 1.5);
    else if (event.key === "Escape") show(-1);
    else if (step) {
      const shown = [...Array(count).keys()].filter((place) => !hidden(place));
      if (!shown.length) return;
      const next = current < 0 && step < 0 ? 0 : shown.indexOf(current) + step;
      show(shown[(next + shown.length) % shown.length]);
    } else return;
    event.preventDefault();
  });
  document.getElementById("map-in").addEventListener("click", () => middle(1.5));
  document.getElementById("map-out").addEventListener("click", () => middle(1 / 1.5));
  const all = () => {
    zoom = 1;
    centre = [0.5, 0.5];
    show(-1);
  };
  document.getElementById("map-all").addEventListener("click", all);
  pictures.addEventListener("change", draw);
  const search = () => {
    const wanted = find.value.trim().toLowerCase();
    const fits = (place) =>
      [data.names[place], ...Object.keys(data.groupings).map((name) => groupName(name, place))]
        .some((text) => text.toLowerCase().includes(wanted));
    found = wanted ? new Set([...Array(count).keys()].filter(fits)) : null;
    document.getElementById("map-found").textContent = found ? `${found.size} of ${count}` : "";
    show(-1);
  };
  find.addEventListener("input", search);
  const list = () => {
    const each = grouping();
    only = -1;
    legend.replaceChildren(
      ...(each ? each.names : []).map((name, number) => {
        const entry = document.createElement("li");
        const button = document.createElement("button");
        const swatch = document.createElement("span");
        const text = document.createElement("bdi");
        swatch.className = "swatch";
        swatch.style.background = each.colours[number];
        text.textContent = name;
        button.type = "button";
        button.setAttribute("aria-pressed", "false");
        button.append(swatch, text);
        button.addEventListener("click", () => {
          only = only === number ? -1 : number;
          [...legend.querySelectorAll("button")].forEach((other, place) =>
            other.setAttribute("aria-pressed", String(place === only)),
          );
          show(-1);
        });
        entry.append(button);
        return entry;
      }),
    );
  };
  for (const [name, change] of [
    ["map-kind", (value) => { kind = value; all(); }],
    ["map-colour", (value) => { colour = value; list(); draw(); }],
  ]) {
    const choice = document.getElementById(name);
    if (choice) choice.addEventListener("change", () => change(choice.value));
  }
  list();
  new ResizeObserver(draw).observe(canvas);
  sprite.decode().then(draw, draw);
})();
