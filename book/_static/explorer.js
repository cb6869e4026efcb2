// The figure that answers: swap the target, choose a model, move the dots. The page brings every
// curve as samples on a grid, and dots stand on that grid, so nothing here knows a formula.

document.querySelectorAll("script.gradnotes-explorer").forEach((source) => {
  const isBefore = (one) =>
    one.compareDocumentPosition(source) & Node.DOCUMENT_POSITION_FOLLOWING;
  const figure = [...document.querySelectorAll("main figure")].filter(isBefore).pop();
  const box = document.createElement("div");
  const caption = document.createElement("span");
  // Whatever goes wrong, the reader keeps the picture.
  const guard = (action) => (event) => {
    try {
      action(event);
    } catch (error) {
      console.error(error);
      figure?.classList.remove("explorer-on");
      box.remove();
      caption.remove();
    }
  };
  guard(() => {
    figure.prepend(box);
    figure.querySelector(".caption-text").after(caption);
    figure.classList.add("explorer-on");
    explore(JSON.parse(source.textContent), box, caption, guard);
  })();
});

function explore({ domain, steps, apart, dots: home, slope, choices }, box, caption, guard) {
  const step = (domain[1] - domain[0]) / steps;
  const last = home.length - 1;
  let choice = choices[0];
  let model = "network";
  let other = 0;
  let dots = [...home];

  // The mathematics: k counts steps of the grid, and a pair is a value and a slope.

  function ripple(k) {
    const i = dots.findLastIndex((dot, j) => j === 0 || (dot <= k && j < last));
    const width = dots[i + 1] - dots[i];
    const phase = (Math.PI * (k - dots[i])) / width;
    const rise = (i % 2 ? -1 : 1) * slope;
    return [((rise * width * step) / Math.PI) * Math.sin(phase), rise * Math.cos(phase)];
  }

  function target(k, other) {
    const wave = ripple(k);
    return choice.target.map((column, j) => column[k] + other * wave[j]);
  }

  const between = (curve) => (other) =>
    dots.slice(1).map((end, i) => {
      const start = dots[i];
      const ends = [...target(start, other), ...target(end, other)];
      const h = (end - start) * step;
      return [start, end, (k) => curve((k - start) / (end - start), h, ...ends)];
    });

  const middle = (i) => (i < 0 ? 0 : i === last ? steps : (dots[i] + dots[i + 1]) / 2);

  // A model is a list of pieces: where each starts and ends, and its pair at k in between.
  const models = {
    network: {
      name: "trained network",
      says: "It was trained on the values at the dots, and on nothing else.",
      pieces: () => [[0, steps, (k) => choice.network.map((column) => column[k])]],
    },
    nearest: {
      name: "nearest neighbour",
      says: "It repeats the value of the nearest dot, so its slope is 0.",
      pieces: (other) =>
        dots.map((dot, i) => [middle(i - 1), middle(i), () => [target(dot, other)[0], 0]]),
    },
    linear: {
      name: "straight lines",
      says: "They join neighbouring dots, so at a dot there is a slope on either side.",
      pieces: between((u, h, a, s, b) => [a + u * (b - a), (b - a) / h]),
    },
    hermite: {
      name: "cubics, told the slopes",
      says: "The one model here that is told the target's slopes at the dots, not the values alone: so it changes with the target.",
      pieces: between((u, h, a, s, b, t) => {
        const [bend, twist] = [3 * (b - a) - h * (2 * s + t), 2 * (a - b) + h * (s + t)];
        return [a + u * (h * s + u * (bend + u * twist)), s + (u * (2 * bend + 3 * u * twist)) / h];
      }),
    },
  };

  // Where two pieces meet on the grid there are two samples, one for each side.
  const sample = (other) =>
    models[model].pieces(other).map(([start, end, pair]) => {
      const samples = [];
      for (let k = Math.ceil(start); k <= end; k++) {
        const [[f, slope], [h, modelSlope]] = [target(k, other), pair(k)];
        samples.push({ k, f, slope, h, r: f - h, bend: slope - modelSlope });
      }
      return samples;
    });

  const largest = (samples, key) => Math.max(...samples.flat().map((one) => Math.abs(one[key])));

  // The elements.

  const path = (kind, d) => `<path class="explorer-${kind}" d="${d}"/>`;
  const point = (radius, kind = "point") => `<circle class="explorer-${kind}" r="${radius}"/>`;
  const key = (kind) => `<li><svg viewBox="0 0 28 8" aria-hidden="true">${path(kind, "M2 4H26")}</svg> ${kind}</li>`;
  const handle = (_, i) =>
    i === 0 || i === last
      ? `<g aria-hidden="true">${point(5)}</g>`
      : `<g class="explorer-dot" role="slider" tabindex="0" aria-label="Dot ${i + 1}">
          ${point(16, "hit")}${point(10, "ring")}${point(5)}</g>`;
  box.className = "explorer";
  box.innerHTML = `
    <div class="explorer-row">
      <button type="button" data-does="flip">Other target</button>
      <label>Target <select></select></label>
      <label>Model <select></select></label>
      <button type="button" data-does="home">Dots back to their places</button>
    </div>
    <output class="explorer-row" aria-live="polite" aria-atomic="true">
      <span class="explorer-gap-value">value gap <strong></strong></span>
      <span class="explorer-gap-slope">gradient gap <strong></strong></span>
    </output>
    <p role="status"></p>
    <svg class="explorer-plot" role="group" aria-label="Dots to move">
      <g aria-hidden="true"></g>${home.map(handle).join("")}
    </svg>
    <ul class="explorer-row">${["target", "model", "slopes"].map(key).join("")}</ul>
    <details><summary>The numbers at the dots</summary><table>
      <tr><th scope="col">position</th><th scope="col">residual</th>
      <th scope="col">its slope (left, right)</th></tr>
      ${home.map(() => "<tr><td></td><td></td><td></td></tr>").join("")}
    </table></details>`;
  const all = (selector) => [...box.querySelectorAll(selector)];
  const [flip, targets, modelled, , numbers, note, plot] = all(
    "button, select, output, [role=status], .explorer-plot"
  );
  const [drawing, ...handles] = plot.children;
  choices.forEach(({ name }, i) => targets.add(new Option(name, i)));
  targets.parentElement.hidden = choices.length === 1;
  Object.entries(models).forEach(([key, { name }]) => modelled.add(new Option(name, key)));

  // What the reader does.

  const on = (one, event, action) => one.addEventListener(event, guard(action));
  let wanted = 1;

  function choose(name) {
    model = modelled.value = name;
    note.textContent = "";
    if (name === "network" && String(dots) !== String(home)) {
      dots = [...home];
      note.textContent = "The network was trained on the dots in their places: they are back.";
    }
  }

  const does = {
    flip: () => (other = 1 - other),
    home: () => (dots = [...home]),
    instead: () => (choose("linear"), handles[wanted].focus()),
  };

  on(box, "click", ({ target: { dataset } }) => dataset.does && (does[dataset.does](), draw()));
  on(targets, "change", () => ((choice = choices[targets.value]), draw()));
  on(modelled, "change", () => (choose(modelled.value), draw()));

  const limits = (i) => [dots[i - 1] + apart, dots[i + 1] - apart];
  let timer = 0;

  function move(i, k) {
    const [least, most] = limits(i);
    const to = Math.min(Math.max(Math.round(k), least), most);
    if (to === dots[i]) return;
    if (model !== "network") {
      // While numbers run, nobody is to have them read aloud.
      numbers.ariaBusy = "true";
      clearTimeout(timer);
      timer = setTimeout(() => (numbers.ariaBusy = "false"), 600);
      dots[i] = to;
      draw();
    } else if (!note.firstElementChild) {
      wanted = i;
      note.innerHTML = `The network was trained on the dots where they are, so they stay. To move
        them, take <button type="button" data-does="instead">straight lines</button> instead.`;
    }
  }

  on(plot, "keydown", (event) => {
    const i = handles.indexOf(event.target);
    const [least, most] = limits(i);
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 };
    const k = { Home: least, End: most }[event.key] ?? dots[i] + apart * by[event.key];
    if (isNaN(k) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    move(i, k);
  });

  let grip = null;
  const pointed = ({ clientX }) => (clientX - plot.getBoundingClientRect().left) / (x(1) - x(0));
  on(plot, "pointerdown", (event) => {
    const held = event.target.closest(".explorer-dot");
    if (!held || event.button) return;
    const i = handles.indexOf(held);
    grip = { i, offset: dots[i] - pointed(event) };
    held.setPointerCapture(event.pointerId);
  });
  on(plot, "pointermove", (event) => grip && move(grip.i, pointed(event) + grip.offset));
  ["pointerup", "pointercancel"].forEach((end) => on(plot, end, () => (grip = null)));

  // The drawing.

  const TOP = [24, 234];
  const BOTTOM = [280, 420];
  let width = 0;
  const x = (k) => 56 + (k / steps) * (width - 74);
  const place = (k) => +(domain[0] + k * step).toFixed(4);
  const minus = (text) => String(text).replace("-", "\u2212");
  const fixed = (number) => minus((Math.abs(number) < 5e-4 ? 0 : number).toFixed(3));
  const text = (x, y, anchor, words) =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}">${minus(words)}</text>`;

  function ticks([low, high], most) {
    const ten = 10 ** Math.floor(Math.log10((high - low) / most));
    const gap = ten * [1, 2, 5, 10].find((one) => one * ten * most >= 0.999 * (high - low));
    const first = Math.ceil(low / gap);
    const count = Math.floor(high / gap) - first + 1;
    return Array.from({ length: count }, (_, i) => +((first + i) * gap).toPrecision(6));
  }

  const curve = (samples, key, y) =>
    samples
      .map((piece) => piece.map((one) => `${x(one.k).toFixed(1)} ${y(one[key]).toFixed(1)}`))
      .map((points) => (points.length ? `M${points.join("L")}` : ""))
      .join("");

  // A tangent has two halves, which differ at a kink; at an end of the domain it has one.
  const tangent = (sides, key, slope, y) =>
    sides.map((one, side) => {
      if (one.k === side * steps) return "";
      const [dx, dy] = [x(1) - x(0), y(one[slope] * step) - y(0)];
      const size = (side ? 22 : -22) / Math.hypot(dx, dy);
      return `M${x(one.k)} ${y(one[key])}l${size * dx} ${size * dy}`;
    });

  function panel(title, range, [top, bottom]) {
    const y = (height) => bottom - ((height - range[0]) / (range[1] - range[0])) * (bottom - top);
    const [start, end] = [x(0) - 14, x(steps) + 14];
    const across = ticks(range, (bottom - top) / 28);
    const rule = (height) => path(height ? "rule" : "zero", `M${start} ${y(height)}H${end}`);
    const labels = across.map((height) => text(start - 5, y(height) + 4, "end", height));
    return [y, text(start, top - 8, "start", title) + across.map(rule).join("") + labels.join("")];
  }

  function draw() {
    width = Math.max(box.clientWidth, 240);
    plot.setAttribute("viewBox", `0 0 ${width} 458`);
    // Both targets count for the scales, so that only the target moves when it is swapped.
    const both = [sample(0), sample(1)];
    const samples = both[other];
    const heights = both.flat(2).flatMap(({ f, h }) => [f, h]);
    const [low, high] = [Math.min(...heights), Math.max(...heights)];
    const margin = 0.08 * (high - low);
    const reach = 1.15 * Math.max(...both.map((one) => largest(one, "r")));
    const range = [low - margin, high + margin];
    const [up, above] = panel("target, model, slopes of the target", range, TOP);
    const [down, below] = panel("residual (target - model), its slopes", [-reach, reach], BOTTOM);

    const here = dots.map((k) => samples.flat().filter((one) => one.k === k));
    const ends = here.map((sides) => [sides[0], sides.at(-1)]);
    const slopes = ends.flatMap((pair) => [
      ...tangent(pair, "f", "slope", up),
      ...tangent(pair, "r", "bend", down),
    ]);
    const marks = ticks(domain, Math.min(8, width / 45)).map((value) => {
      const where = x((value - domain[0]) / step);
      const rule = [TOP, BOTTOM].map(([top, bottom]) => `M${where} ${top}V${bottom}`).join("");
      return path("rule", rule) + text(where, BOTTOM[1] + 18, "middle", value);
    });
    drawing.innerHTML = [
      ...marks,
      text(x(steps / 2), BOTTOM[1] + 34, "middle", "x"),
      above + below,
      path("model", curve(samples, "h", up) + curve(samples, "r", down)),
      path("target", curve(samples, "f", up)),
      path("slopes", slopes.join("")),
    ].join("");

    flip.ariaPressed = String(other === 1);
    const [value, gradient] = all("strong");
    value.textContent = fixed(largest(samples, "r"));
    gradient.textContent = fixed(largest(samples, "bend"));
    const plus = other ? ", plus a ripple that is zero at every dot" : "";
    const { name, says } = models[model];
    caption.textContent = `Target: ${choice.name}${plus}. Model: ${name}. ${says}`;
    const rows = all("td");
    ends.forEach(([a, b], i) => {
      const bends = [...new Set([fixed(a.bend), fixed(b.bend)])].join(", ");
      const row = [minus(place(a.k)), fixed(a.r), bends];
      row.forEach((cell, j) => (rows[3 * i + j].textContent = cell));
      handles[i].setAttribute("transform", `translate(${x(a.k)} ${up(a.f)})`);
      if (i === 0 || i === last) return;
      const [min, max] = limits(i).map(place);
      const about = { min, max, now: place(a.k), text: `x = ${row[0]}, height ${fixed(a.f)}` };
      Object.entries(about).forEach(([key, is]) => handles[i].setAttribute(`aria-value${key}`, is));
      handles[i].ariaReadOnly = String(model === "network");
    });
  }

  draw();
  const resized = () => box.clientWidth && box.clientWidth !== width && draw();
  new ResizeObserver(guard(resized)).observe(box);
}
