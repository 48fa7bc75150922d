// Draws the leaderboard's plots from the JSON in the page. Text only ever enters through textContent.
const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = 7;

// Elements

function canvas(width, height, label) {
  return drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
}

// Numbers to pixels, and the round numbers in between

// The width of a range, or of a range around a single number, which rounding can make look like two
function width(from, to) {
  return to - from > 1e-9 * Math.max(Math.abs(from), Math.abs(to)) ? to - from : 1;
}

function widened([low, high], fraction) {
  const more = width(low, high) * fraction;
  return [low - more, high + more];
}

function scale(from, to, start, end) {
  const span = width(from, to);
  return (value) => start + ((value - from) / span) * (end - start);
}

function ticks(from, to, about) {
  const rough = width(from, to) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-6; i++) found.push(i * step);
  return { at: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// A shape of its own for every entry, besides its colour
function marker(place, x, y, size, hollow = false) {
  const shapes = [
    `M${x - size},${y}a${size},${size} 0 1 0 ${2 * size},0a${size},${size} 0 1 0 ${-2 * size},0`,
    `M${x - size},${y - size}h${2 * size}v${2 * size}h${-2 * size}z`,
    `M${x},${y - size * 1.2}l${size * 1.15},${size * 2.1}h${-size * 2.3}z`,
    `M${x},${y - size * 1.3}l${size * 1.3},${size * 1.3}l${-size * 1.3},${size * 1.3}l${-size * 1.3},${-size * 1.3}z`,
  ];
  return drawn("path", { d: shapes[place % shapes.length], class: `${hollow ? "hollow" : "mark"} s${place % COLOURS}` });
}

function key(places) {
  const box = element("div", { class: "key" });
  for (const place of places) {
    const sample = drawn("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" });
    sample.append(marker(place, 7, 7, 5));
    box.append(element("span", {}, sample, data.models[place].name));
  }
  return box;
}

// The values of the leaderboard with their intervals

function drawForest() {
  const [block, measure] = document.getElementById("forest-choice").value.split(" ").map(Number);
  const { name, rows } = data.board[block].measures[measure];
  const known = rows.filter((row) => row.value !== null);
  const plot = document.getElementById("forest");
  const wide = Math.max(plot.clientWidth, 280);
  const left = Math.min(190, wide * 0.4);
  const height = rows.length * 26 + 34;
  const ends = known.flatMap((row) => [row.value, row.low, row.high]).filter((value) => value !== null);
  const [from, to] = widened(ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1], 0.04);
  const x = scale(from, to, left + 12, wide - 14);
  const title = `${name}, ${data.board[block].protocol} protocol`;
  const svg = canvas(wide, height, `${title}: value and 95 % interval of every entry, as in the table above`);
  const marks = ticks(from, to, wide < 500 ? 4 : 8);
  for (const at of marks.at) {
    svg.append(drawn("line", { x1: x(at), x2: x(at), y1: 4, y2: height - 24, class: "grid" }));
    svg.append(drawn("text", { x: x(at), y: height - 8, "text-anchor": "middle", class: "soft" }, number(at, marks.digits)));
  }
  rows.forEach((row, i) => {
    const y = 18 + 26 * i;
    const place = data.models.findIndex((model) => model.name === row.model);
    const own = row.kind === "model" ? place : 6;
    svg.append(drawn("text", { x: left, y: y + 4, "text-anchor": "end", class: row.kind === "model" ? "" : "soft" }, short(row.model, Math.floor(left / 7))));
    if (row.value === null) return svg.append(drawn("text", { x: left + 12, y: y + 4, class: "soft" }, "not defined"));
    if (row.low !== null && row.high !== null) svg.append(drawn("path", { d: `M${x(row.low)},${y}H${x(row.high)}`, class: `stroke s${own % COLOURS}` }));
    const mark = marker(row.kind === "model" ? place : 0, x(row.value), y, 5, row.kind !== "model");
    mark.setAttribute("class", `${row.kind === "model" ? "mark" : "hollow"} s${own % COLOURS}`);
    mark.append(drawn("title", {}, `${row.model}: ${number(row.value)}`));
    svg.append(mark);
  });
  plot.replaceChildren(svg);
}

// The reliability curve

function drawReliability() {
  const plot = document.getElementById("reliability");
  const places = data.reliability.map((_, i) => i).filter((i) => data.reliability[i].length);
  if (!places.length) return;
  const wide = Math.min(Math.max(plot.clientWidth, 240), 420);
  const height = wide * 0.86;
  const bins = places.flatMap((place) => data.reliability[place]);
  const low = Math.min(0.5, ...bins.map((bin) => Math.floor(bin.observed * 10) / 10));
  const x = scale(0.5, 1, 44, wide - 12);
  const y = scale(low, 1, height - 40, 10);
  const most = Math.max(...bins.map((bin) => bin.pairs));
  const svg = canvas(wide, height, "Reliability: fraction of pairs in which experts agree, by predicted preference");
  for (const at of ticks(0.5, 1, 5).at) {
    svg.append(drawn("line", { x1: x(at), x2: x(at), y1: y(1), y2: y(low), class: "grid" }));
    svg.append(drawn("text", { x: x(at), y: height - 23, "text-anchor": "middle", class: "soft" }, number(at, 1)));
  }
  for (const at of ticks(low, 1, 5).at) {
    svg.append(drawn("line", { x1: x(0.5), x2: x(1), y1: y(at), y2: y(at), class: "grid" }));
    svg.append(drawn("text", { x: 37, y: y(at) + 4, "text-anchor": "end", class: "soft" }, number(at, 1)));
  }
  svg.append(drawn("text", { x: (x(0.5) + x(1)) / 2, y: height - 5, "text-anchor": "middle" }, "predicted preference"));
  svg.append(drawn("text", { x: -(y(low) + y(1)) / 2, y: 12, "text-anchor": "middle", transform: "rotate(-90)" }, "experts agree"));
  svg.append(drawn("path", { d: `M${x(0.5)},${y(0.5)}L${x(1)},${y(1)}`, class: "dashed" }));
  for (const place of places) {
    const path = data.reliability[place].map((bin) => `${x(bin.predicted)},${y(bin.observed)}`).join("L");
    svg.append(drawn("path", { d: `M${path}`, class: `stroke s${place % COLOURS}` }));
    for (const bin of data.reliability[place]) {
      const mark = marker(place, x(bin.predicted), y(bin.observed), 2.5 + 4 * Math.sqrt(bin.pairs / most));
      mark.append(drawn("title", {}, `${data.models[place].name}: predicted ${number(bin.predicted)}, observed ${number(bin.observed)}, ${bin.pairs} pairs`));
      svg.append(mark);
    }
  }
  const caption = element("figcaption", {}, "Reliability: the dashed line is perfect calibration; larger marks stand for more pairs.");
  plot.replaceChildren(svg, key(places), caption);
}

// SROCC scene by scene, the scene with the highest mean first

function drawScenes() {
  const plot = document.getElementById("scene-ranks");
  const places = data.srocc.map((_, i) => i).filter((i) => data.srocc[i].some((value) => value !== null));
  const mean = (scene) => {
    const values = places.map((place) => data.srocc[place][scene]).filter((value) => value !== null);
    return values.length ? values.reduce((a, b) => a + b) / values.length : -2;
  };
  const order = data.scenes.map((_, i) => i).sort((a, b) => mean(b) - mean(a));
  const values = places.flatMap((place) => data.srocc[place]).filter((value) => value !== null);
  if (!values.length) return plot.replaceChildren("No SROCC is defined in any scene.");
  const wide = Math.max(plot.clientWidth, 280);
  const left = Math.min(160, wide * 0.38);
  const height = order.length * 20 + 34;
  const from = Math.min(Math.floor(Math.min(...values) * 10) / 10, 0.9);
  const x = scale(from, 1, left + 12, wide - 14);
  const svg = canvas(wide, height, "SROCC of every scene and entry, the scene with the highest mean first; as in the table below");
  const marks = ticks(from, 1, wide < 500 ? 4 : 10);
  for (const at of marks.at) {
    svg.append(drawn("line", { x1: x(at), x2: x(at), y1: 4, y2: height - 24, class: "grid" }));
    svg.append(drawn("text", { x: x(at), y: height - 8, "text-anchor": "middle", class: "soft" }, number(at, marks.digits)));
  }
  order.forEach((scene, row) => {
    const y = 15 + 20 * row;
    const { name } = data.scenes[scene];
    svg.append(drawn("text", { x: left, y: y + 4, "text-anchor": "end" }, short(name, Math.floor(left / 6.6))));
    const known = places.filter((place) => data.srocc[place][scene] !== null);
    const ends = known.map((place) => data.srocc[place][scene]);
    if (!ends.length) return svg.append(drawn("text", { x: left + 12, y: y + 4, class: "soft" }, "not defined"));
    svg.append(drawn("line", { x1: x(Math.min(...ends)), x2: x(Math.max(...ends)), y1: y, y2: y, class: "dashed" }));
    for (const place of known) {
      const mark = marker(place, x(data.srocc[place][scene]), y, 4.5);
      mark.append(drawn("title", {}, `${name}, ${data.models[place].name}: ${number(data.srocc[place][scene])}`));
      svg.append(mark);
    }
  });
  plot.replaceChildren(key(places), svg);
}

// Predictions image by image

// The rank of each value from 0 (lowest) to 1 (highest), so that scenes of any size look alike
function ranks(values) {
  const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]);
  const found = new Array(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end < order.length && values[order[end]] === values[order[start]]) end++;
    for (let i = start; i < end; i++) found[order[i]] = (start + end) / 2 / values.length; // ties share their mean rank
    start = end;
  }
  return found;
}

function pointsOf(scene, place, asRanks) {
  const there = scene.images.map((_, i) => i).filter((i) => scene.predictions[place][i] !== null);
  const score = there.map((i) => scene.scores[i]);
  const prediction = there.map((i) => scene.predictions[place][i]);
  const [x, y] = asRanks ? [ranks(score), ranks(prediction)] : [score, prediction];
  return there.map((i, k) => ({ x: x[k], y: y[k], image: scene.images[i], score: score[k], prediction: prediction[k] }));
}

const SIDE = 160; // of a panel, in its own units

function panel(scene, points, srocc, place, xs, ys) {
  const svg = drawn("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", tabindex: "0" });
  const verdict = srocc === null || srocc === undefined ? "SROCC undefined" : `SROCC ${number(srocc)}`;
  svg.setAttribute("aria-label", `${scene.name}, ${verdict}, ${points.length} images: prediction against score; arrow keys go from image to image`);
  const [x, y] = [scale(xs[0], xs[1], 26, SIDE - 5), scale(ys[0], ys[1], SIDE - 18, 5)];
  for (const [range, place_, across] of [[xs, x, true], [ys, y, false]]) {
    const marks = ticks(range[0], range[1], 6);
    for (const at of marks.at) {
      const p = place_(at);
      svg.append(drawn("line", across ? { x1: p, x2: p, y1: 5, y2: SIDE - 18, class: "grid" } : { x1: 26, x2: SIDE - 5, y1: p, y2: p, class: "grid" }));
      const label = drawn("text", across ? { x: p, y: SIDE - 6, "text-anchor": "middle" } : { x: 22, y: p + 3, "text-anchor": "end" }, number(at, marks.digits));
      label.setAttribute("class", "soft");
      label.style.fontSize = "9px";
      svg.append(label);
    }
  }
  svg.append(drawn("path", { d: points.map((point) => `M${x(point.x).toFixed(1)},${y(point.y).toFixed(1)}h0`).join(""), class: `dots s${place % COLOURS}` }));
  const ring = drawn("circle", { r: 4.5, class: "chosen", visibility: "hidden" });
  svg.append(ring);
  let at = -1;
  const sorted = [...points].sort((a, b) => a.x - b.x);
  const show = (point) => {
    at = sorted.indexOf(point);
    ring.setAttribute("cx", x(point.x));
    ring.setAttribute("cy", y(point.y));
    ring.setAttribute("visibility", "visible");
    const box = svg.getBoundingClientRect();
    tell(`${point.image}\nscore ${number(point.score, data.digits.score)}, predicted ${number(point.prediction, data.digits.prediction[place])}`, box.left + (x(point.x) / SIDE) * box.width, box.top + (y(point.y) / SIDE) * box.height);
  };
  const clear = () => {
    ring.setAttribute("visibility", "hidden");
    hush();
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const [px, py] = [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
    const distance = (point) => (x(point.x) - px) ** 2 + (y(point.y) - py) ** 2;
    if (points.length) show(points.reduce((best, point) => (distance(point) < distance(best) ? point : best)));
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !sorted.length) return;
    event.preventDefault();
    show(sorted[Math.min(Math.max(at + step, 0), sorted.length - 1)]);
  });
  for (const name of ["pointerleave", "blur"]) svg.addEventListener(name, clear);
  return element("div", {}, element("h4", {}, scene.name, element("span", {}, `${verdict} · ${points.length} images`)), svg);
}

function drawScatter() {
  const place = data.models.findIndex((model) => model.name === document.querySelector(".scatter-choice").value);
  if (place < 0) return;
  const asRanks = document.querySelector("input[name=axes]:checked").value === "ranks";
  const panels = data.scenes.map((scene) => pointsOf(scene, place, asRanks));
  const range = (name) => panels.flat().reduce(([low, high], point) => [Math.min(low, point[name]), Math.max(high, point[name])], [Infinity, -Infinity]);
  const [xs, ys] = asRanks ? [[0, 1], [0, 1]] : [widened(range("x"), 0.03), widened(range("y"), 0.03)];
  const axes = asRanks ? "Horizontal: rank of the experts' score, vertical: rank of the prediction; 0 is the lowest of the scene, 1 the highest" : "Horizontal: the experts' score; vertical: the prediction";
  document.getElementById("scatter-note").textContent = `${axes}; all scenes have the same axes. Point at a dot to see its image.`;
  document.getElementById("scatter").replaceChildren(
    ...data.scenes.map((scene, i) => panel(scene, panels[i], data.srocc[place][i], place, xs, ys)),
  );
}

// The model that is shown in detail

function choose(name) {
  for (const select of document.querySelectorAll(".model-choice")) {
    if ([...select.options].some((option) => option.value === name)) select.value = name;
  }
  const galleries = [...document.querySelectorAll(".gallery")];
  const shown = galleries.some((gallery) => gallery.dataset.model === name) ? name : galleries[0]?.dataset.model;
  for (const gallery of galleries) gallery.hidden = gallery.dataset.model !== shown;
  drawScatter();
}

for (const image of document.querySelectorAll("img[data-thumbnail]")) image.src = data.thumbnails[image.dataset.thumbnail];
const plotChoice = document.getElementById("forest-choice");
data.board.forEach((block, i) => {
  const group = element("optgroup", { label: `${block.protocol} protocol` });
  block.measures.forEach((measure, k) => group.append(element("option", { value: `${i} ${k}` }, `${measure.name}, ${block.protocol}`)));
  plotChoice.append(group);
});
plotChoice.addEventListener("change", drawForest);
for (const select of document.querySelectorAll(".model-choice")) select.addEventListener("change", () => choose(select.value));
for (const radio of document.querySelectorAll("input[name=axes]")) radio.addEventListener("change", drawScatter);

function drawAll() {
  if (data.board.length) drawForest();
  drawReliability();
  drawScenes();
}

let drawnAt = document.body.clientWidth;
addEventListener("resize", () => {
  if (document.body.clientWidth === drawnAt) return; // a phone's address bar comes and goes
  drawnAt = document.body.clientWidth;
  drawAll();
});
drawAll();
choose(document.querySelector(".scatter-choice").value);
