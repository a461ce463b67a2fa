// One finished take: its waveform, what made it and what can be done with it.

import { get } from "./api.js";
import { h, hue, icon, seconds, since } from "./dom.js";
import { Wave } from "./wave.js";

const music = ({ bars, bpm, key, loop }) =>
  [bars && `${bars} bars`, bpm && `${bpm} BPM`, key, loop && "loop"].filter(Boolean).join(", ");

const origin = ({ init_audio: varied, inpaint, continue_to: longer }) =>
  (varied ? "another sound, varied" : inpaint ? "another sound, in part" : longer ? "another sound, continued" : "");

const FORMATS = ["wav", "flac", "mp3", "opus"];

export class Card {
  // on: { play, again, vary, remake, extend, use, settings, remove } of a card
  constructor(take, on) {
    this.take = take;
    this.on = on;
    const name = take.prompt || "no words";
    this.wave = new Wave(`${name}: place and selection`, {
      seek: (at) => on.play(this, at),
      select: () => this.#selected(),
    });
    this.play = h("button", { type: "button", class: "round", "aria-label": `Play ${name}`, onclick: () => on.play(this) }, icon("play"));
    this.pad = h("kbd", { class: "pad", hidden: true });
    this.range = h("div", { class: "range", hidden: true });
    this.element = h("li", { class: "card", "data-take": take.id },
      h("div", { class: "head" }, h("h3", { text: name, title: name }), this.pad),
      this.wave.host,
      this.range,
      h("div", { class: "acts" },
        this.play,
        h("button", { type: "button", class: "quiet again", title: "The same with another seed", onclick: () => on.again(this) }, icon("again"), "Again"),
        h("button", { type: "button", class: "quiet", title: "Start from this sound", onclick: () => on.vary(this) }, "Vary"),
        this.#more()));
    this.element.style.setProperty("--hue", hue(take.prompt || take.id));
    get(take.peaks_url).then(({ peaks }) => this.wave.show(peaks, take.seconds), () => this.wave.show([], take.seconds));
  }

  #more() {
    const { take, on } = this, { settings } = take;
    const facts = [
      ["Seed", take.seed], ["Model", take.model], ["Steps", settings.steps], ["Sampler", settings.sampler],
      ["Guidance", settings.cfg_scale], ["Avoid", settings.negative_prompt],
      ["Music", music(settings)],
      ["LoRAs", take.request.lora?.map(([name, strength]) => `${name} ${strength}`).join(", ")],
      ["From", origin(take.request)],
      ["Made", `${since(take.created)}, in ${seconds(take.took)}`],
    ].filter(([, value]) => value !== null && value !== undefined && value !== "");
    const list = h("dl", { class: "facts" }, ...facts.map(([term, value]) =>
      h("div", {}, h("dt", { text: term }), h("dd", { class: "mono", text: String(value) }))));
    const notes = (take.notes ?? []).map((text) => h("p", { class: "hint", text }));
    const saves = FORMATS.map((format) => h("a", {
      href: `${take.url}?format=${format}&download`, download: take.file.replace(/wav$/, format), text: format,
    }));
    return h("details", { class: "about" },
      h("summary", {}, `${seconds(take.seconds)}, seed ${take.seed}`),
      list, ...notes,
      h("div", { class: "row saves" }, icon("save"), h("span", { text: "Download" }), ...saves),
      h("div", { class: "row" },
        h("button", { type: "button", class: "quiet", onclick: () => on.settings(this) }, "Use these settings"),
        h("button", { type: "button", class: "quiet danger", onclick: () => on.remove(this) }, "Delete")));
  }

  // What can be done with a selected part.
  #selected() {
    const range = this.wave.selection;
    this.range.hidden = !range;
    if (!range) return;
    const [from, to] = range;
    const act = (text, title, then) => h("button", { type: "button", class: "quiet", text, title, onclick: then });
    this.range.replaceChildren(
      h("span", { class: "mono", text: `${from.toFixed(2)} to ${seconds(to)}` }),
      act("Hear", "Play the selection", () => this.on.play(this, from, range)),
      act("Remake", "Make this part anew and keep the rest", () => this.on.remake(this, range)),
      act("Go on from here", "Keep what is before the selection and continue from there", () => this.on.extend(this, from)),
      act("Edit", "Take it to the form, to say something else for this part", () => this.on.use(this, range)));
  }

  deselect() {
    this.wave.select(null);
    this.#selected();
  }

  setPad(letter) {
    this.pad.hidden = !letter;
    this.pad.textContent = letter ?? "";
    this.pad.title = letter ? `Key ${letter} plays this take` : "";
  }

  // How the player has it.
  setPlaying(playing, current) {
    this.element.classList.toggle("playing", playing);
    this.element.classList.toggle("current", current);
    this.play.replaceChildren(icon(playing ? "pause" : "play"));
    this.play.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${this.take.prompt || "no words"}`);
  }
}
