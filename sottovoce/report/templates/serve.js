"use strict";
(() => {
const $ = id => document.getElementById(id), root = document.documentElement, ask = $("ask"), words = $("drop").querySelector("b");
const invited = words.textContent;
let tape = null; // a MediaRecorder while it records

function say(what) {
  $("said").textContent = what; $("said").hidden = !what;
}

async function hear(recording, name) {
  if (root.classList.contains("hearing")) return;
  if (recording.size > +ask.dataset.most) return say(`${name}: ${(recording.size / 1e6).toFixed(1)} MB, more than this server takes.`);
  say(""); root.classList.add("hearing"); $("record").disabled = true; words.textContent = `Listening to ${name} …`;
  const form = new FormData(), key = $("key") ? $("key").value : "";
  form.append("file", recording, name);
  try {
    const asked = {method: "POST", body: form, headers: key ? {"x-api-key": key} : {}};
    const answer = await fetch("v1/view?channel=" + $("channel").value, asked);
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    return show(await answer.text());
  } catch (error) {
    say(error instanceof TypeError ? "The server does not answer." : error.message);
  }
  root.classList.remove("hearing"); $("record").disabled = false; words.textContent = invited; $("file").value = "";
}

function show(page) { // in this one's place, under its address, so that "back" and "reload" lead here
  history.pushState(null, "");
  document.open(); document.write(page); document.close();
  scrollTo(0, 0);
  addEventListener("popstate", () => location.reload());
}

$("file").onchange = () => $("file").files.length && hear($("file").files[0], $("file").files[0].name);
const over = inside => root.classList.toggle("over", inside);
addEventListener("dragover", e => { e.preventDefault(); over(true); });
addEventListener("dragleave", e => e.relatedTarget || over(false));
addEventListener("drop", e => {
  e.preventDefault(); over(false);
  const file = e.dataTransfer.files[0];
  if (file) hear(file, file.name);
});

async function record() {
  if (tape) return tape.stop();
  if (!navigator.mediaDevices) return say("Browsers record on https:// pages and on localhost alone.");
  let microphone;
  try { // as it is: what makes calls clear makes voices even
    microphone = await navigator.mediaDevices.getUserMedia({audio: {echoCancellation: false, noiseSuppression: false, autoGainControl: false}});
  } catch (error) {
    return say("No microphone: " + error.message + ".");
  }
  say("");
  const pieces = [], context = new AudioContext(), ear = context.createAnalyser(), begun = performance.now();
  context.createMediaStreamSource(microphone).connect(ear);
  tape = new MediaRecorder(microphone);
  tape.ondataavailable = e => pieces.push(e.data);
  tape.onstop = () => {
    const kind = tape.mimeType, when = new Date().toISOString().slice(0, 19).replace("T", " ").replaceAll(":", ".");
    microphone.getTracks().forEach(track => track.stop()); context.close(); tape = null;
    root.classList.remove("taping"); $("record").lastChild.textContent = "Record"; $("clock").value = "";
    hear(new Blob(pieces, {type: kind}), `recording ${when}.${kind.includes("mp4") ? "mp4" : "webm"}`);
  };
  tape.start();
  root.classList.add("taping"); $("record").lastChild.textContent = "Stop";
  const samples = new Float32Array(ear.fftSize);
  const meter = () => {
    if (!tape) return;
    const s = (performance.now() - begun) / 1000;
    ear.getFloatTimeDomainData(samples);
    const db = 10 * Math.log10(samples.reduce((sum, v) => sum + v * v, 0) / samples.length + 1e-9);
    $("level").firstChild.style.transform = `scaleX(${Math.min(Math.max(1 + db / 60, 0), 1)})`;
    $("clock").value = `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
    if (s > +ask.dataset.longest - 1) tape.stop(); else requestAnimationFrame(meter);
  };
  meter();
}
$("record").onclick = record;
})();
