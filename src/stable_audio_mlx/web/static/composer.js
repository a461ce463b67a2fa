// The form: what the next takes will be asked for.

import { call, Failed, get, upload } from "./api.js";
import { $, h, icon, say, seconds } from "./dom.js";
import { Wave } from "./wave.js";

const DRAFT = "studio-draft";
const FIELDS = ["prompt", "seconds", "bars", "bpm", "key", "seed", "steps", "sampler", "cfg", "level", "negative", "count"];
const KEYS = ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
  .flatMap((note) => [`${note} major`, `${note} minor`]);

export class Composer {
  #models = [];
  #source = null; // { id, name, seconds, kind: "vary" | "remake" | "continue", wave }
  #strengths = {}; // by LoRA
  #shown = ""; // the model whose values the form shows

  // on: { make(requests), play(sound, from, range) }
  constructor(on) {
    this.on = on;
    this.form = $("composer");
    $("key").append(...KEYS.map((key) => h("option", { value: key, text: key })));
    this.#restore();
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.make(); });
    this.form.addEventListener("input", () => { this.#save(); this.#refresh(); });
    $("model").addEventListener("change", () => { this.#save(); this.#refresh(true); });
    $("seconds-slider").addEventListener("input", () => { $("seconds").value = $("seconds-slider").value; });
    $("file").addEventListener("change", () => { this.take($("file").files[0]); $("file").value = ""; });
    this.#dropping();
  }

  get model() { return this.#models.find((model) => model.id === $("model").value) ?? {}; }

  get longest() { return Math.floor((this.model.longest ?? 1) * 100) / 100; }

  // Models as the server tells them; the form offers what the chosen one can do.
  setModels(models) {
    const ready = models.filter((model) => model.state !== "broken");
    const chosen = $("model").value || this.draft.model || "";
    this.#models = models;
    $("model").replaceChildren(...models.map((model) => h("option", {
      value: model.id,
      disabled: model.state === "broken",
      text: model.state === "broken" ? `${model.id}: cannot be used` : model.id,
      title: model.reason,
    })));
    const value = ready.some((model) => model.id === chosen) ? chosen : ready[0]?.id;
    if (value) $("model").value = value;
    this.#refresh(this.#shown !== $("model").value);
  }

  #refresh(other = false) {
    const model = this.model;
    if (!model.longest) return;
    this.#shown = model.id;
    $("seconds-slider").max = model.longest;
    if (other || !$("seconds").value) {
      if (!$("seconds").value || Number($("seconds").value) > model.longest) $("seconds").value = model.seconds;
      $("steps").placeholder = model.steps;
      $("cfg").placeholder = model.cfg_scale;
      const wanted = this.draft.sampler;
      $("sampler").replaceChildren(
        h("option", { value: "", text: `${model.sampler} (its own)` }),
        ...model.samplers.filter((s) => s !== model.sampler).map((s) => h("option", { value: s, text: s })),
      );
      if (model.samplers.includes(wanted)) $("sampler").value = wanted;
      this.#loras(model.loras ?? {});
    }
    $("seconds-slider").value = $("seconds").value;
    this.#refreshLength(model);
    this.#refreshText(model);
    this.#refreshSource();
  }

  #refreshLength(model) {
    const bars = this.unit === "bars", value = this.seconds;
    $("by-bars").hidden = $("by-key").hidden = !bars;
    $("by-seconds").hidden = bars;
    const hint = value > this.longest
      ? `${seconds(value)}: ${model.id} makes ${seconds(this.longest)} at once and goes on from there.`
      : bars && value ? seconds(value) : "";
    if ($("length-hint").textContent !== hint) $("length-hint").textContent = hint;
  }

  #refreshText(model) {
    $("prompt").disabled = !model.takes_text;
    $("prompt-hint").hidden = model.takes_text;
    $("prompt-hint").textContent = model.takes_text ? "" : "This model takes no words; it makes what it was trained on.";
    $("cfg").disabled = !model.guidable;
    const guided = model.guidable && Number($("cfg").value || model.cfg_scale) !== 1;
    $("cfg-hint").textContent = model.guidable
      ? "1 is off; more follows the words more strictly"
      : "This model has no words to be guided by.";
    $("negative").disabled = !guided;
    $("negative-hint").textContent = guided ? "" : "Needs a guidance other than 1.";
  }

  #loras(fits) {
    const names = Object.keys(fits);
    $("loras").hidden = !names.length;
    $("lora-list").replaceChildren(...names.map((name) => {
      const strength = this.#strengths[name] ?? 0, reason = fits[name];
      const out = h("output", { text: strength ? strength.toFixed(2) : "off" });
      const slider = h("input", {
        type: "range", min: "0", max: "1.5", step: "0.05", value: String(strength), disabled: !!reason,
        oninput: () => {
          this.#strengths[name] = Number(slider.value);
          out.textContent = this.#strengths[name] ? this.#strengths[name].toFixed(2) : "off";
        },
      });
      return h("label", { class: "slider" }, h("span", { text: name }), slider, out,
        reason ? h("span", { class: "hint", text: `${reason.split(":")[0]}.`, title: reason }) : null);
    }));
  }

  get unit() { return this.form.elements.unit.value; }

  get seconds() {
    if (this.unit === "seconds") return Number($("seconds").value);
    return Number($("bars").value) * 4 * 60 / Number($("bpm").value);
  }

  // The request for the next takes, as the API has it.
  request() {
    const text = $("prompt").value.trim(), source = this.#source, model = this.model;
    const asked = { model: model.id };
    if (model.takes_text) {
      if (!text) { $("prompt").focus(); throw new Failed("Say what you want to hear first."); }
      asked.prompt = text;
    }
    const { unit } = this;
    if (unit === "bars") Object.assign(asked, { bars: Number($("bars").value), bpm: Number($("bpm").value) });
    else asked.seconds = this.seconds;
    if (unit === "bars" && $("key").value) asked.key = $("key").value;
    if ($("seamless").checked) asked.loop = true;
    if (this.seconds > this.longest) asked.long = true;
    const numbers = { steps: "steps", cfg: "cfg_scale" };
    for (const [id, key] of Object.entries(numbers)) if ($(id).value && !$(id).disabled) asked[key] = Number($(id).value);
    if ($("sampler").value) asked.sampler = $("sampler").value;
    if ($("level").value) asked.normalize = $("level").value;
    if ($("trim").checked) asked.trim_silence = true;
    if ($("negative").value.trim() && !$("negative").disabled) asked.negative_prompt = $("negative").value.trim();
    const loras = Object.entries(this.#strengths).filter(([name, s]) => s && model.loras?.[name] === "");
    if (loras.length) asked.lora = loras;
    if (source) this.#startFrom(source, asked);
    asked.n = Math.min(Math.max(Number($("count").value) || 1, 1), 16);
    const seed = $("seed").value.trim();
    if (seed) asked.seed = Number(seed);
    if (seed && !Number.isSafeInteger(asked.seed)) throw new Failed("A seed is a whole number of at most 15 digits.");
    return asked;
  }

  // The length is then the sound's own, but for a continuation.
  #startFrom(source, asked) {
    const { selection } = source.wave;
    for (const key of LENGTHS) delete asked[key];
    if (source.kind === "vary") {
      Object.assign(asked, { init_audio: source.id, strength: this.#level(), seconds: Math.min(source.seconds, this.longest) });
    } else if (source.kind === "remake") {
      if (!selection) throw new Failed("Select the part to remake on the waveform first.");
      Object.assign(asked, { inpaint_audio: source.id, inpaint: [selection], seconds: source.seconds });
    } else Object.assign(asked, continuation(source, selection?.[0], this.seconds));
  }

  #level() { return Number($("strength")?.value ?? 0.7); }

  async make() {
    $("problem").hidden = true;
    try {
      await this.on.make(this.request());
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      this.problem(error.message);
    }
  }

  problem(text) {
    $("problem").textContent = text;
    $("problem").hidden = false;
  }

  // Sounds to start from

  async take(file) {
    if (!file) return;
    $("drop").classList.add("busy");
    say(`Reading ${file.name}`);
    try {
      const sound = await upload(file);
      this.setSource({ ...sound, kind: "vary" });
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      this.problem(error.message);
    } finally {
      $("drop").classList.remove("busy");
    }
  }

  // sound: { id, name, seconds, url, peaks_url or peaks, kind, selection }
  async setSource(sound) {
    const peaks = sound.peaks ?? (await get(sound.peaks_url)).peaks;
    const wave = new Wave(`${sound.name}: place and selection`, {
      seek: (at) => this.on.play(sound, at),
      select: (range) => {
        if (range && this.#source.kind === "vary") this.#setKind("remake");
        this.#refreshSource();
      },
    });
    this.#source = { ...sound, wave };
    wave.show(peaks, sound.seconds);
    const kinds = { vary: "Vary", remake: "Remake", continue: "Continue" };
    const radios = Object.entries(kinds).map(([kind, text]) => h("label", {},
      h("input", { type: "radio", name: "kind", value: kind, checked: kind === sound.kind, onchange: () => this.#setKind(kind) }),
      h("span", { text })));
    const number = (edge, label) => h("input", {
      type: "number", min: "0", step: "any", id: `source-${edge}`, "aria-label": label,
      onchange: () => this.#typedRange(),
    });
    $("source-view").replaceChildren(
      h("div", { class: "source-head" },
        h("span", { class: "name", text: sound.name }), h("span", { class: "mono", text: seconds(sound.seconds) }),
        h("button", { type: "button", class: "icon", "aria-label": `Without ${sound.name}`, onclick: () => this.clearSource() }, icon("close"))),
      wave.host,
      h("div", { class: "segments" }, ...radios),
      h("label", { class: "slider", id: "strength-row" }, h("span", { text: "Change" }),
        h("input", { type: "range", id: "strength", min: "0.05", max: "1", step: "0.05", value: "0.7" }),
        h("output", { id: "strength-out" })),
      h("div", { class: "row", id: "range-row" }, h("span", { text: "from" }), number("from", "Selection from, seconds"),
        h("span", { text: "to" }), number("to", "Selection to, seconds"), h("span", { text: "s" })),
      h("p", { class: "hint", id: "source-hint" }));
    $("source-view").hidden = false;
    $("drop").hidden = true;
    if (sound.selection) wave.select(sound.selection);
    this.#setKind(sound.kind);
    say(`${sound.name} is the sound to start from`);
  }

  clearSource() {
    this.#source = null;
    $("source-view").replaceChildren();
    $("source-view").hidden = true;
    $("drop").hidden = false;
    this.#refresh();
    $("file").focus();
  }

  get source() { return this.#source; }

  #setKind(kind) {
    this.#source.kind = kind;
    for (const radio of $("source-view").querySelectorAll("[name=kind]")) radio.checked = radio.value === kind;
    this.#refresh();
  }

  #typedRange() {
    const [from, to] = ["source-from", "source-to"].map((id) => Number($(id).value));
    this.#source.wave.select(to > from ? [from, to] : null);
    this.#refreshSource();
  }

  #refreshSource() {
    const source = this.#source;
    $("source-title").textContent = source ? "Starting from" : "Start from a sound";
    for (const part of $("composer").querySelectorAll(".length")) part.classList.toggle("unused", !!source && source.kind !== "continue");
    if (!source) return;
    $("strength-row").hidden = source.kind !== "vary";
    $("range-row").hidden = source.kind !== "remake";
    $("strength-out").textContent = `${Math.round(100 * this.#level())} %`;
    const [from, to] = source.wave.selection ?? [0, 0];
    $("source-from").value = source.wave.selection ? from.toFixed(2) : "";
    $("source-to").value = source.wave.selection ? to.toFixed(2) : "";
    const end = source.wave.selection?.[0] ?? source.seconds;
    const hints = {
      vary: source.seconds > this.longest ? `Only its first ${seconds(this.longest)} are used.` : "",
      remake: source.wave.selection ? "Outside the selection every sample stays as it is." : "Drag over the waveform to select a part.",
      continue: end < this.seconds - 0.05
        ? `From ${seconds(end)} on to ${seconds(this.seconds)}, the length that is set above.`
        : `It is ${seconds(end)} long already: set more length above, or select from where on it should go another way.`,
    };
    $("source-hint").textContent = hints[source.kind];
  }

  #dropping() {
    let depth = 0;
    const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const show = (on) => document.body.classList.toggle("dropping", on);
    addEventListener("dragenter", (event) => { if (files(event)) { event.preventDefault(); depth++; show(true); } });
    addEventListener("dragover", (event) => { if (files(event)) event.preventDefault(); });
    addEventListener("dragleave", (event) => { if (files(event) && --depth <= 0) { depth = 0; show(false); } });
    addEventListener("drop", (event) => {
      if (!files(event)) return;
      event.preventDefault();
      depth = 0;
      show(false);
      this.take(event.dataTransfer.files[0]);
    });
  }

  // What was typed survives a reload

  #save() {
    const draft = { model: $("model").value, unit: this.unit };
    for (const id of FIELDS) draft[id] = $(id).value;
    this.draft = draft;
    localStorage.setItem(DRAFT, JSON.stringify(draft));
  }

  #restore() {
    this.draft = {};
    try { this.draft = JSON.parse(localStorage.getItem(DRAFT)) ?? {}; } catch { /* a draft that cannot be read is none */ }
    for (const id of FIELDS) if (this.draft[id] && id !== "sampler") $(id).value = this.draft[id];
    if (this.draft.unit) this.form.elements.unit.value = this.draft.unit;
  }

  // The settings of a take, to go on from.
  fill(request, seed) {
    $("prompt").value = request.prompt ?? "";
    if (this.#models.some((model) => model.id === request.model)) $("model").value = request.model;
    this.#refresh(true);
    this.form.elements.unit.value = request.bars ? "bars" : "seconds";
    for (const id of ["seconds", "bars", "bpm"]) if (request[id]) $(id).value = request[id];
    $("key").value = KEYS.includes(request.key) ? request.key : "";
    $("seamless").checked = !!request.loop;
    $("seed").value = seed ?? "";
    $("steps").value = request.steps ?? "";
    $("cfg").value = request.cfg_scale ?? "";
    $("sampler").value = request.sampler ?? "";
    $("negative").value = request.negative_prompt ?? "";
    $("level").value = request.normalize ?? "";
    $("trim").checked = !!request.trim_silence;
    this.#strengths = Object.fromEntries(request.lora ?? []);
    this.#loras(this.model.loras ?? {});
    $("more").open = true;
    this.#save();
    this.#refresh();
  }
}

// What says how long a sound becomes, and what is only for sounds from nothing.
export const LENGTHS = ["seconds", "bars", "loop", "long", "trim_silence"];

// A sound that goes on behind its end, or another way from a place in it.
export function continuation(sound, from, to) {
  if (to < (from ?? sound.seconds) + 0.05) {
    throw new Failed(`It is ${seconds(from ?? sound.seconds)} long already; set more length, or select from where on it should go another way.`);
  }
  if (from === undefined) return { inpaint_audio: sound.id, continue_to: to };
  return { inpaint_audio: sound.id, inpaint: [[from, to]], seconds: to };
}
