// The sound that takes start from: dropped, chosen or a take; varied, remade in part or continued.

import { Failed, get, upload } from "./api.js";
import { $, h, icon, say, seconds } from "./dom.js";
import { Wave } from "./wave.js";

const KINDS = { vary: "Vary", remake: "Remake", continue: "Continue" };

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

export class Source {
  sound = null; // { id, name, seconds, kind, wave }

  // form: the Composer that it is a part of
  constructor(form) {
    this.form = form;
    $("file").addEventListener("change", () => { this.read($("file").files[0]); $("file").value = ""; });
    this.#dropping();
  }

  async read(file) {
    if (!file) return;
    $("drop").classList.add("busy");
    say(`Reading ${file.name}`);
    try {
      await this.set({ ...await upload(file), kind: "vary" });
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      this.form.problem(error.message);
    } finally {
      $("drop").classList.remove("busy");
    }
  }

  // sound: { id, name, seconds, url, peaks_url or peaks, kind, selection }
  async set(sound) {
    const peaks = sound.peaks ?? (await get(sound.peaks_url)).peaks;
    const wave = new Wave(`${sound.name}: place and selection`, {
      seek: (at) => this.form.on.play(sound, at),
      select: (range) => {
        if (range && this.sound.kind === "vary") this.#setKind("remake");
        this.show();
      },
    });
    this.sound = { ...sound, wave };
    wave.show(peaks, sound.seconds);
    $("source-view").replaceChildren(...this.#parts());
    $("source-view").hidden = false;
    $("drop").hidden = true;
    if (sound.selection) wave.select(sound.selection);
    this.#setKind(sound.kind);
    say(`${sound.name} is the sound to start from`);
  }

  #parts() {
    const { sound } = this;
    const radios = Object.entries(KINDS).map(([kind, text]) => h("label", {},
      h("input", { type: "radio", name: "kind", value: kind, checked: kind === sound.kind, onchange: () => this.#setKind(kind) }),
      h("span", { text })));
    const number = (edge, label) => h("input", {
      type: "number", min: "0", step: "any", id: `source-${edge}`, "aria-label": label,
      onchange: () => this.#typedRange(),
    });
    return [
      h("div", { class: "source-head" },
        h("span", { class: "name", text: sound.name }), h("span", { class: "mono", text: seconds(sound.seconds) }),
        h("button", { type: "button", class: "icon", "aria-label": `Without ${sound.name}`, onclick: () => this.clear() }, icon("close"))),
      sound.wave.host,
      h("div", { class: "segments" }, ...radios),
      h("label", { class: "slider", id: "strength-row" }, h("span", { text: "Change" }),
        h("input", { type: "range", id: "strength", min: "0.05", max: "1", step: "0.05", value: "0.7" }),
        h("output", { id: "strength-out" })),
      h("div", { class: "row", id: "range-row" }, h("span", { text: "from" }), number("from", "Selection from, seconds"),
        h("span", { text: "to" }), number("to", "Selection to, seconds"), h("span", { text: "s" })),
      h("p", { class: "hint", id: "source-hint" }),
    ];
  }

  clear() {
    this.sound = null;
    $("source-view").replaceChildren();
    $("source-view").hidden = true;
    $("drop").hidden = false;
    this.form.refresh();
    $("file").focus();
  }

  // Into a request: the length is then the sound's own, but for a continuation.
  addTo(asked) {
    const { sound, form } = this;
    if (!sound) return;
    const { selection } = sound.wave;
    for (const key of LENGTHS) delete asked[key];
    if (sound.kind === "vary") {
      Object.assign(asked, { init_audio: sound.id, strength: this.#strength, seconds: Math.min(sound.seconds, form.longest) });
    } else if (sound.kind === "remake") {
      if (!selection) throw new Failed("Select the part to remake on the waveform first.");
      Object.assign(asked, { inpaint_audio: sound.id, inpaint: [selection], seconds: sound.seconds });
    } else Object.assign(asked, continuation(sound, selection?.[0], form.seconds));
  }

  get #strength() { return Number($("strength").value); }

  #setKind(kind) {
    this.sound.kind = kind;
    for (const radio of $("source-view").querySelectorAll("[name=kind]")) radio.checked = radio.value === kind;
    this.form.refresh();
  }

  #typedRange() {
    const [from, to] = ["source-from", "source-to"].map((id) => Number($(id).value));
    this.sound.wave.select(to > from ? [from, to] : null);
    this.show();
  }

  // What is to be seen of it, after the form or the selection has changed.
  show() {
    const { sound } = this;
    $("source-title").textContent = sound ? "Starting from" : "Start from a sound";
    for (const part of $("composer").querySelectorAll(".length")) part.classList.toggle("unused", !!sound && sound.kind !== "continue");
    if (!sound) return;
    const { selection } = sound.wave;
    $("strength-row").hidden = sound.kind !== "vary";
    $("range-row").hidden = sound.kind !== "remake";
    $("strength-out").textContent = `${Math.round(100 * this.#strength)} %`;
    $("source-from").value = selection ? selection[0].toFixed(2) : "";
    $("source-to").value = selection ? selection[1].toFixed(2) : "";
    $("source-hint").textContent = this.#hint();
  }

  #hint() {
    const { sound, form } = this, { selection } = sound.wave;
    if (sound.kind === "vary") return sound.seconds > form.longest ? `Only its first ${seconds(form.longest)} are used.` : "";
    if (sound.kind === "remake") {
      return selection ? "Outside the selection every sample stays as it is." : "Drag over the waveform to select a part.";
    }
    const end = selection?.[0] ?? sound.seconds;
    return end < form.seconds - 0.05
      ? `From ${seconds(end)} on to ${seconds(form.seconds)}, the length that is set above.`
      : `It is ${seconds(end)} long already: set more length above, or select from where on it should go another way.`;
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
      this.read(event.dataTransfer.files[0]);
    });
  }
}
