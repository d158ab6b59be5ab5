"use strict";
(() => {
const $ = id => document.getElementById(id), data = JSON.parse($("data").textContent);
const stage = $("stage"), chart = $("chart"), head = $("head"), audio = $("audio");
const end = Math.max(data.duration, 0.05), lanes = data.lanes, many = lanes.length > 1, HEADING = 18; // pixels
let from = 0, to = end, at = 0, over = null, width = 0, rows = [], total = 0;

if (audio && $("sounds")) { // a blob can be played from anywhere, which the text of a data: URI cannot everywhere
  const bytes = Uint8Array.from(atob($("sounds").textContent), c => c.charCodeAt(0));
  audio.src = URL.createObjectURL(new Blob([bytes], {type: "audio/mpeg"}));
}

const colour = role => getComputedStyle(document.documentElement).getPropertyValue("--" + role).trim();
const x = t => (t - from) / (to - from) * width, time = px => from + px / width * (to - from);
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
function clock(t, digits = 1) {
  const h = Math.floor(t / 3600), m = Math.floor(t / 60) % 60, s = (t % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return h ? `${h}:${String(m).padStart(2, "0")}:${s}` : `${m}:${s}`;
}

function layout() { // what is drawn where, from top to bottom
  const small = width < 560, tall = data.numbers ? 120 : small ? 110 : 150;
  rows = [["ruler", 22], ["wave", small ? 46 : 64]];
  const place = lanes.map(lane => lane.name), people = [...new Set(data.segments.map(s => s.speaker))];
  people.sort((a, b) => place.indexOf(a) - place.indexOf(b)); // as the channels below
  for (const who of people) rows.push(["segments", 26, who, who]);
  for (const lane of lanes) {
    const whose = many ? lane.name + ": " : "";
    rows.push(["values", tall, lane, whose + (data.numbers ? "values" : "probabilities")]);
    if (lane.intensity.length) rows.push(["intensity", small ? 30 : 40, lane, whose + "intensity, " + data.intensity]);
  }
  let y = 0;
  rows = rows.map(([kind, height, what, name]) => {
    y += name ? HEADING : 0;
    const row = {kind, height, what, name, y};
    y += height + 6;
    return row;
  });
  total = y;
}

function size() {
  width = stage.clientWidth;
  layout();
  const dots = window.devicePixelRatio || 1;
  for (const canvas of [chart, head]) {
    canvas.width = width * dots; canvas.height = total * dots; canvas.style.height = total + "px";
    canvas.getContext("2d").setTransform(dots, 0, 0, dots, 0, 0);
  }
  draw();
}

function draw() {
  const g = chart.getContext("2d"), ink = colour("ink"), soft = colour("soft"), line = colour("line");
  g.clearRect(0, 0, width, total);
  g.font = "12px " + getComputedStyle(document.body).fontFamily;
  g.textBaseline = "middle";
  for (const row of rows) {
    if (row.name) { g.fillStyle = soft; g.fillText(row.name, 5, row.y - HEADING / 2 + 1); }
    g.save(); g.translate(0, row.y); g.beginPath(); g.rect(0, 0, width, row.height); g.clip();
    ({ruler, wave, segments, values, intensity})[row.kind](g, row, {ink, soft, line});
    g.restore();
  }
  follow();
}

function ruler(g, row, {soft, line}) {
  const wanted = (to - from) / Math.max(width / 90, 2);
  const step = [.1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].find(s => s >= wanted) || 7200;
  g.fillStyle = soft; g.strokeStyle = line;
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
    const px = x(t);
    g.beginPath(); g.moveTo(px, row.height - 5); g.lineTo(px, row.height); g.stroke();
    const label = clock(t, step < 1 ? 1 : 0);
    if (px + 3 + g.measureText(label).width < width) g.fillText(label, px + 3, row.height / 2);
  }
}

function wave(g, row, {soft}) {
  const {low, high} = data.wave, n = low.length, mid = row.height / 2;
  g.fillStyle = soft;
  for (let px = 0; px < width; px++) {
    const a = Math.floor(time(px) / end * n), b = Math.max(Math.ceil(time(px + 1) / end * n), a + 1);
    let least = 0, most = 0;
    for (let k = Math.max(a, 0); k < Math.min(b, n); k++) { least = Math.min(least, low[k]); most = Math.max(most, high[k]); }
    const top = mid - most / 1000 * (mid - 2), bottom = mid - least / 1000 * (mid - 2);
    g.fillRect(px, top, 1, Math.max(bottom - top, 1));
  }
}

function segments(g, row, {ink}) {
  for (const s of data.segments) {
    if (s.speaker !== row.what || s.end < from || s.start > to) continue;
    const a = x(s.start), b = x(s.end);
    g.globalAlpha = .28; g.fillStyle = colour(s.role); g.fillRect(a, 2, b - a, row.height - 4); g.globalAlpha = 1;
    g.fillRect(a, row.height - 5, b - a, 3);
    const left = Math.max(a, 0), room = Math.min(b, width) - left;
    if (g.measureText(s.label).width + 10 < room) { g.fillStyle = ink; g.fillText(s.label, left + 5, row.height / 2 - 1); }
  }
}

function cells(lane) { // [first, last + 1) that are seen, and how many go into one step of the picture
  const n = lane.times.length, first = clamp(Math.floor(from / data.hop) - 1, 0, n), last = clamp(Math.ceil(to / data.hop) + 1, 0, n);
  return [first, last, Math.max(1, Math.ceil((last - first) / Math.max(width, 1)))];
}

function mean(column, a, b) {
  let sum = 0, count = 0;
  for (let k = a; k < b; k++) if (column[k] !== null) { sum += column[k]; count++; }
  return count ? sum / count : null;
}

function values(g, row, {line}) {
  const lane = row.what, [first, last, step] = cells(lane), base = row.height - 1;
  if (data.numbers) return curves(g, row, lane.values, data.roles.map(colour));
  for (let a = first; a < last; a += step) {
    const b = Math.min(a + step, last), left = x(a * data.hop), right = x(Math.min(b * data.hop, end));
    let y = base;
    lane.values.forEach((column, k) => {
      const share = mean(column, a, b);
      if (share === null) return;
      const h = share * (row.height - 2);
      g.fillStyle = colour(data.roles[k]); g.fillRect(left, y - h, right - left + .6, h); y -= h;
    });
  }
  g.strokeStyle = line; g.strokeRect(-1, .5, width + 2, row.height - 1);
}

function curves(g, row, columns, paints, bounds = null) {
  const lane = row.what, [first, last, step] = cells(lane);
  const known = columns.flat().filter(v => v !== null), [low, high] = bounds || [Math.min(...known), Math.max(...known)];
  columns.forEach((column, k) => {
    g.strokeStyle = paints[k]; g.lineWidth = 2; g.beginPath();
    let open = false;
    for (let a = first; a < last; a += step) {
      const v = mean(column, a, Math.min(a + step, last));
      if (v === null) { open = false; continue; }
      const px = x((a + step / 2) * data.hop), y = row.height - 3 - (v - low) / Math.max(high - low, 1e-9) * (row.height - 6);
      open ? g.lineTo(px, y) : (g.moveTo(px - 2, y), g.lineTo(px, y)); open = true;
    }
    g.stroke();
  });
}

function intensity(g, row, {ink}) {
  curves(g, row, [row.what.intensity], [ink], data.numbers ? null : [0, 1]);
}

function follow() { // the head, and the values under the pointer or the head
  const g = head.getContext("2d"), t = over === null ? at : over;
  g.clearRect(0, 0, width, total);
  if (over !== null) { g.fillStyle = colour("soft"); g.globalAlpha = .6; g.fillRect(x(over), 0, 1, total); g.globalAlpha = 1; }
  g.fillStyle = colour("c6"); g.fillRect(x(at) - 1, 0, 2, total);
  $("now").value = clock(t) + " / " + clock(end);
  for (const node of document.querySelectorAll("[data-class]")) { // of everybody who speaks
    const said = lanes.map(lane => lane.values[node.dataset.class][clamp(Math.floor(t / data.hop), 0, lane.times.length - 1)]);
    const words = said.filter(v => v !== null && v !== undefined).map(v => data.numbers ? v.toFixed(2) : Math.round(100 * v) + " %");
    node.textContent = words.join(" · ") || "–";
  }
  for (const line of document.querySelectorAll("[data-segment]")) {
    const s = data.segments[line.dataset.segment];
    line.classList.toggle("on", s.start <= at && at < s.end);
  }
}

function go(t, play = false) {
  at = clamp(t, 0, end);
  if (audio) { audio.currentTime = at; if (play) audio.play(); }
  if (at < from || at > to) { const half = (to - from) / 2; show(at - half, at + half); } else follow();
}

function show(a, b) {
  const span = clamp(b - a, Math.min(1, end), end);
  from = clamp(a, 0, end - span); to = from + span;
  draw();
}

function zoom(factor, around = at >= from && at <= to ? at : (from + to) / 2) {
  show(around - (around - from) * factor, around + (to - around) * factor);
}

function segment(step) {
  const starts = data.segments.map(s => s.start).sort((a, b) => a - b);
  const next = step > 0 ? starts.find(s => s > at + .05) : starts.findLast(s => s < at - .3);
  if (next !== undefined) go(next);
}

const toggle = () => audio && (audio.paused ? audio.play() : audio.pause());
if (audio) {
  const tick = () => {
    at = audio.currentTime;
    if (at > to && !audio.paused) show(at, at + to - from); else follow();
    if (!audio.paused) requestAnimationFrame(tick);
  };
  audio.addEventListener("play", () => { $("play").textContent = "❚❚"; tick(); });
  audio.addEventListener("pause", () => { $("play").textContent = "▶"; });
  audio.addEventListener("seeked", () => { at = audio.currentTime; follow(); });
  $("play").onclick = toggle;
}
$("in").onclick = () => zoom(.5); $("out").onclick = () => zoom(2); $("fit").onclick = () => show(0, end);

const fingers = new Map();
let grip = null;
const place = e => time(e.clientX - stage.getBoundingClientRect().left);
stage.addEventListener("pointerdown", e => {
  fingers.set(e.pointerId, e.clientX);
  grip = {x: e.clientX, from, to, moved: false, wide: spread()};
  stage.setPointerCapture(e.pointerId);
});
const spread = () => { const xs = [...fingers.values()]; return xs.length > 1 ? Math.abs(xs[0] - xs[1]) : 0; };
stage.addEventListener("pointermove", e => {
  if (!fingers.has(e.pointerId)) { over = place(e); follow(); return; }
  fingers.set(e.pointerId, e.clientX);
  if (fingers.size > 1 && grip.wide) {
    const mid = (grip.from + grip.to) / 2, half = (grip.to - grip.from) / 2 * grip.wide / Math.max(spread(), 10);
    grip.moved = true; show(mid - half, mid + half);
  } else if (Math.abs(e.clientX - grip.x) > 5) {
    const by = (grip.x - e.clientX) / width * (grip.to - grip.from);
    grip.moved = true; show(grip.from + by, grip.to + by);
  }
});
stage.addEventListener("pointerup", e => {
  fingers.delete(e.pointerId);
  if (grip && !grip.moved) go(place(e), true);
  if (!fingers.size) grip = null;
});
stage.addEventListener("pointercancel", e => { fingers.delete(e.pointerId); grip = null; });
stage.addEventListener("pointerleave", () => { over = null; follow(); });
stage.addEventListener("wheel", e => {
  e.preventDefault();
  if (Math.abs(e.deltaX) > Math.abs(e.deltaY)) { const by = e.deltaX / width * (to - from); show(from + by, to + by); }
  else zoom(Math.exp(clamp(e.deltaY, -120, 120) / 240), place(e));
}, {passive: false});

const keys = {
  " ": toggle, k: toggle, ArrowLeft: e => go(at - (e.shiftKey ? 5 : 1)), ArrowRight: e => go(at + (e.shiftKey ? 5 : 1)),
  Home: () => go(0), End: () => go(end), "+": () => zoom(.5), "=": () => zoom(.5), "-": () => zoom(2), 0: () => show(0, end),
  n: () => segment(1), p: () => segment(-1),
};
document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|AUDIO|SUMMARY)$/.test(e.target.tagName)) return;
  if (e.target.tagName === "BUTTON" && (e.key === " " || e.key === "Enter")) return;
  if (keys[e.key]) { e.preventDefault(); keys[e.key](e); }
});
for (const line of document.querySelectorAll("[data-segment]"))
  line.querySelector("button").onclick = () => go(data.segments[+line.dataset.segment].start, true);

function save(name, kind, said) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([said], {type: kind}));
  link.download = data.name.replace(/\.[^.]*$/, "") + name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
$("json").onclick = () => save(".json", "application/json", JSON.stringify(data.result, null, 1));
$("csv").onclick = () => {
  const lines = data.result.timeline, names = Object.keys(lines[0] || {time_s: 0});
  const cell = v => v === null ? "" : typeof v !== "string" ? v : '"' + (/^['=+\-@]/.test(v) ? "'" : "") + v.replaceAll('"', '""') + '"';
  save(".csv", "text/csv", [names.map(cell), ...lines.map(row => names.map(name => cell(row[name])))].map(row => row.join(",")).join("\n") + "\n");
};

new ResizeObserver(() => { if (stage.clientWidth !== width) size(); }).observe(stage);
matchMedia("(prefers-color-scheme:dark)").addEventListener("change", draw);
$("theme").addEventListener("change", draw);
size();
})();
