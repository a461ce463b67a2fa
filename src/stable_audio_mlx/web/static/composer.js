// The form: what the next takes will be asked for.

import { Failed } from "./api.js";
import { $, h, seconds } from "./dom.js";
import { Loras } from "./loras.js";
import { Source } from "./source.js";

const DRAFT = "studio-draft";
const FIELDS = ["prompt", "seconds", "bars", "bpm", "key", "seed", "steps", "sampler", "cfg", "level", "negative", "count"];
const CHECKS = ["seamless", "trim"];
const KEYS = ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
  .flatMap((note) => [`${note} major`, `${note} minor`]);

export class Composer {
  #models = [];
  #loras = new Loras();
  #shown = ""; // the model whose values the form shows

  // on: { make(request), play(sound, from) }
  constructor(on) {
    this.on = on;
    this.form = $("composer");
    this.source = new Source(this);
    $("key").append(...KEYS.map((key) => h("option", { value: key, text: key })));
    this.#restore();
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.make(); });
    this.form.addEventListener("input", () => { this.#save(); this.refresh(); });
    $("model").addEventListener("change", () => { this.#save(); this.refresh(true); });
    $("seconds-slider").addEventListener("input", () => { $("seconds").value = $("seconds-slider").value; });
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
    this.refresh(this.#shown !== $("model").value);
  }

  // Show what follows from the values; `other`: those of another model are to begin with.
  refresh(other = false) {
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
      this.#loras.show(model.loras);
    }
    $("seconds-slider").value = $("seconds").value;
    this.#refreshLength(model);
    this.#refreshText(model);
    this.source.show();
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

  get unit() { return this.form.elements.unit.value; }

  get seconds() {
    if (this.unit === "seconds") return Number($("seconds").value);
    return Number($("bars").value) * 4 * 60 / Number($("bpm").value);
  }

  // The request for the next takes, as the API has it.
  request() {
    const text = $("prompt").value.trim(), { model } = this;
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
    if (this.#loras.acting.length) asked.lora = this.#loras.acting;
    this.source.addTo(asked);
    asked.n = Math.min(Math.max(Number($("count").value) || 1, 1), 16);
    const seed = $("seed").value.trim();
    if (seed) asked.seed = Number(seed);
    if (seed && !Number.isSafeInteger(asked.seed)) throw new Failed("A seed is a whole number of at most 15 digits.");
    return asked;
  }

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

  // What was typed survives a reload

  #save() {
    const draft = { model: $("model").value, unit: this.unit, loras: this.#loras.strengths };
    for (const id of FIELDS) draft[id] = $(id).value;
    for (const id of CHECKS) draft[id] = $(id).checked;
    this.draft = draft;
    localStorage.setItem(DRAFT, JSON.stringify(draft));
  }

  #restore() {
    this.draft = {};
    try { this.draft = JSON.parse(localStorage.getItem(DRAFT)) ?? {}; } catch { /* a draft that cannot be read is none */ }
    for (const id of FIELDS) if (this.draft[id] && id !== "sampler") $(id).value = this.draft[id];
    for (const id of CHECKS) $(id).checked = !!this.draft[id];
    if (this.draft.unit) this.form.elements.unit.value = this.draft.unit;
    this.#loras.strengths = this.draft.loras ?? {};
    const set = (field) => (field.type === "checkbox" ? field.checked : field.value);
    $("more").open = [...$("more").querySelectorAll("input, select")].some(set); // nothing that is set is out of sight
  }

  // The settings of a take, to go on from.
  fill(request, seed) {
    $("prompt").value = request.prompt ?? "";
    if (this.#models.some((model) => model.id === request.model)) $("model").value = request.model;
    this.#loras.strengths = Object.fromEntries(request.lora ?? []);
    this.refresh(true);
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
    $("more").open = true;
    this.#save();
    this.refresh();
  }
}
