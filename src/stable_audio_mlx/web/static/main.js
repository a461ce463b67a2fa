// The page: takes come in, are shown, played and asked for again.

import { call, Failed, follow, get } from "./api.js";
import { Card } from "./card.js";
import { Composer } from "./composer.js";
import { $, icon, say, seconds, toast } from "./dom.js";
import { Jobs } from "./jobs.js";
import { listen } from "./keys.js";
import { Player } from "./player.js";
import { continuation, LENGTHS } from "./source.js";

const PAGE = 24;
const PADS = [..."ASDFGHJKL"];
const FROM_SOUND = ["init_audio", "init_noise_level", "strength", "inpaint", "inpaint_audio", "continue_to", "extend_by"];

const player = new Player();
const cards = new Map(); // take id -> Card, as they are shown
const removed = new Set(); // takes that are not shown any more
const doomed = new Set(); // those of them that can still be undone
let shown = PAGE, changes = null, modelsKnown = "", latest = [];
const mine = new Set(JSON.parse(sessionStorage.getItem("studio-jobs") ?? "[]")); // jobs that this tab asked for
const heard = new Set(); // takes that were played by themselves

const composer = new Composer({
  make: (request) => ask(request),
  play: (sound, at) => playOther(sound, at),
});
const jobs = new Jobs({ cancel: (job) => tell(call("DELETE", `/v1/jobs/${job.id}`)) });

// Asking

async function ask(request, endless = false) {
  player.unlock();
  const job = await call("POST", "/v1/jobs", request);
  mine.add(job.id);
  sessionStorage.setItem("studio-jobs", JSON.stringify([...mine].slice(-50)));
  if (!endless) {
    say("Asked for");
    setTimeout(hear); // a quick one can be there before the answer that says its name
    if (matchMedia("(max-width: 899px)").matches) $("takes").scrollIntoView({ behavior: calm() ? "auto" : "smooth" });
  }
  return job;
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Failures are said where they can be seen.
async function tell(promise) {
  try {
    return await promise;
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    toast(error.message);
    return null;
  }
}

function plain(request) {
  const { seed, ...rest } = request;
  for (const key of [...FROM_SOUND, ...LENGTHS]) delete rest[key];
  return rest;
}

const acts = {
  play: (card, at, range) => toggle(card, at, range),
  again: (card) => tell(ask({ ...card.take.request, seed: undefined })),
  vary: (card) => toForm(card, "vary"),
  use: (card, range) => toForm(card, "remake", range),
  remake: (card, range) => tell(ask({
    ...plain(card.take.request), inpaint_audio: card.take.id, inpaint: [range], seconds: card.take.seconds,
  })),
  extend: (card, from) => {
    const goal = Math.max(composer.seconds, card.take.seconds);
    return tell((async () => ask({ ...plain(card.take.request), ...continuation(card.take, from, goal) }))());
  },
  settings: (card) => { composer.fill(card.take.request, card.take.seed); $("prompt").focus(); },
  remove: (card) => remove(card),
};

async function toForm(card, kind, selection) {
  const { take } = card;
  if (!$("prompt").value.trim()) $("prompt").value = take.prompt;
  await tell(composer.source.set({ id: take.id, name: take.prompt || take.file, seconds: take.seconds, url: take.url, peaks_url: take.peaks_url, kind, selection }));
  $("source").scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
  $("prompt").focus({ preventScroll: true });
}

function remove(card) {
  const { id } = card.take;
  removed.add(id);
  if (player.current?.id === id) player.stop();
  arrange();
  const timer = setTimeout(() => { doomed.delete(id); tell(call("DELETE", `/v1/takes/${id}`)); }, 6000);
  doomed.add(id);
  toast("The take is deleted.", "Undo", () => { clearTimeout(timer); doomed.delete(id); removed.delete(id); arrange(); });
}

// What was deleted is gone, even if the page is closed at once.
addEventListener("pagehide", () => {
  for (const id of doomed) fetch(`/v1/takes/${id}`, { method: "DELETE", keepalive: true });
  doomed.clear();
});

// Playing

async function toggle(card, at, range) {
  player.unlock();
  const { take } = card;
  if (at === undefined && player.playing(take.id)) { pause(); return; }
  let from = at;
  if (from === undefined && $("compare").ariaPressed === "true" && player.current) {
    from = player.position(player.current.id) ?? cards.get(player.current.id)?.wave.cursor;
  }
  from ??= card.wave.cursor;
  await start(take, from, range ?? (player.loop ? card.wave.selection : null));
}

async function start(take, from = 0, range = null) {
  try {
    await player.play(take, from, range);
  } catch {
    toast("This take cannot be played; it may have been deleted.");
  }
}

function playOther(sound, at) {
  player.unlock();
  if (player.playing(sound.id) && at === undefined) player.stop();
  else start({ ...sound, prompt: sound.name }, at ?? 0);
}

// Keep the place, so that play goes on from there.
function pause() {
  for (const card of cards.values()) {
    const place = player.position(card.take.id);
    if (place !== null) card.wave.cursor = place;
  }
  player.stop();
}

function space() {
  if (player.busy) { pause(); return; }
  const card = cards.get(player.current?.id) ?? visible()[0];
  if (card) toggle(card);
}

function pad(letter) {
  const card = visible()[PADS.indexOf(letter)];
  if (card) player.trigger(card.take).catch(() => toast("This take cannot be played."));
}

player.addEventListener("change", () => { refreshPlaying(); if (player.busy) frame(); });
player.addEventListener("ended", ({ detail }) => {
  const card = cards.get(detail.id);
  if (card) card.wave.cursor = 0;
  if ($("endless").ariaPressed === "true") next();
});

function refreshPlaying() {
  for (const [id, card] of cards) card.setPlaying(player.playing(id), player.current?.id === id);
  $("play").replaceChildren(icon(player.busy ? "pause" : "play"));
  $("play").setAttribute("aria-label", player.busy ? "Pause" : "Play");
  $("now-name").textContent = player.current ? player.current.prompt || "no words" : "Nothing is playing";
}

let framing = false;
function frame() {
  if (framing) return;
  framing = true;
  requestAnimationFrame(() => {
    framing = false;
    for (const [id, card] of cards) {
      const place = player.position(id);
      if (place !== null) card.wave.cursor = place;
    }
    const { sound } = composer.source, inForm = sound && player.position(sound.id);
    if (inForm !== null) sound.wave.cursor = inForm;
    const place = player.current && player.position(player.current.id);
    if (place !== null) $("now-time").textContent = `${seconds(place)} / ${seconds(player.current.seconds)}`;
    if (player.busy) frame();
  });
}

// Endless: while one plays, the next is made

const endless = { waiting: [], job: null, idle: false };

async function refill() {
  if ($("endless").ariaPressed !== "true" || endless.job || endless.waiting.length) return;
  try {
    endless.job = "asked";
    const job = await ask({ ...composer.request(), n: 1, seed: undefined }, true);
    endless.job = job.id;
    hear();
  } catch (error) {
    endless.job = null;
    if (!(error instanceof Failed)) throw error;
    setEndless(false);
    composer.problem(error.message);
  }
}

function next() {
  const take = endless.waiting.shift();
  endless.idle = !take;
  if (take) start(take);
  refill();
}

function setEndless(on) {
  $("endless").ariaPressed = String(on);
  if (on) { player.unlock(); setLoop(false); endless.idle = !player.busy; refill(); return; }
  if (endless.job && endless.job !== "asked") tell(call("DELETE", `/v1/jobs/${endless.job}`));
  Object.assign(endless, { waiting: [], job: null, idle: false });
}

function setLoop(on) {
  $("loop").ariaPressed = String(on);
  player.setLoop(on);
}

// News of the server

async function news(state) {
  $("problem").hidden ||= $("problem").dataset.lost === "true";
  $("problem").dataset.lost = "false";
  jobs.show(state.jobs);
  latest = state.jobs;
  hear();
  const ended = state.jobs.find((job) => job.id === endless.job && ["failed", "cancelled"].includes(job.state));
  if (ended) { endless.job = null; setEndless(false); }
  const models = JSON.stringify(state.models);
  if (models !== modelsKnown) { modelsKnown = models; composer.setModels(state.models); }
  if (state.takes !== changes) { changes = state.takes; await load(); }
}

function hear() {
  for (const job of latest) for (const take of mine.has(job.id) ? job.takes : []) arrived(job, take);
}

// A take that this tab asked for: it is heard if nothing else plays.
function arrived(job, take) {
  if (heard.has(take.id)) return;
  heard.add(take.id);
  if (Date.now() / 1000 - take.created > 20) return; // from before a reload
  say(`${take.prompt || "A take"} is ready`);
  if (job.id === endless.job) {
    endless.job = null;
    endless.waiting.push(take);
    if (endless.idle && !player.busy) next(); else refill();
  } else if (!player.busy) start(take);
}

async function load() {
  const list = await tell(get(`/v1/takes?limit=${Math.min(shown, 200)}`));
  if (!list) return;
  const ids = new Set(list.data.map((take) => take.id));
  for (const [id, card] of cards) if (!ids.has(id)) { card.element.remove(); cards.delete(id); }
  for (const take of list.data) if (!cards.has(take.id)) cards.set(take.id, new Card(take, acts));
  $("older").hidden = !list.has_more || shown >= 200;
  arrange();
}

const visible = () => [...cards.values()].filter((card) => !removed.has(card.take.id)).sort((a, b) => b.take.created - a.take.created);

function arrange() {
  const list = visible();
  list.forEach((card, place) => {
    card.setPad(PADS[place]);
    if ($("cards").children[place] !== card.element) $("cards").insertBefore(card.element, $("cards").children[place] ?? null);
  });
  for (const id of removed) cards.get(id)?.element.remove();
  $("empty").hidden = list.length > 0;
  refreshPlaying();
}

function lost() {
  composer.problem("The studio does not answer. Is it still running in its terminal?");
  $("problem").dataset.lost = "true";
}

// Wiring

$("play").addEventListener("click", space);
$("play").append(icon("play"));
$("volume").addEventListener("input", () => { player.volume = Number($("volume").value) ** 2; });
$("endless").addEventListener("click", () => setEndless($("endless").ariaPressed !== "true"));
$("loop").addEventListener("click", () => setLoop($("loop").ariaPressed !== "true"));
$("compare").addEventListener("click", () => { $("compare").ariaPressed = String($("compare").ariaPressed !== "true"); });
$("older").addEventListener("click", () => { shown += PAGE; load(); });
$("open-help").addEventListener("click", () => $("help").showModal());
listen({
  space,
  pad: (letter) => { if ($("pads").checked) pad(letter); },
  escape: () => { setEndless(false); player.stop(); for (const card of cards.values()) card.deselect(); },
  make: () => composer.make(),
  prompt: () => $("prompt").focus(),
}, PADS);
follow(news, lost);
