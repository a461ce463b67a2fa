// What is being made or waits for it: one card each, with its progress and a way to end it.

import { $, h, hue, icon, say } from "./dom.js";

const PHASES = { waiting: "Waiting", loading: "Reading the model", starting: "Beginning", decoding: "Turning it into sound" };

export class Jobs {
  #cards = new Map(); // id -> parts
  #hidden = new Set(); // failures that were read

  // on: { cancel(job) }
  constructor(on) {
    this.on = on;
  }

  show(jobs) {
    const seen = new Set();
    for (const job of jobs) {
      const shown = job.state === "queued" || job.state === "running" || (job.state === "failed" && !this.#hidden.has(job.id));
      if (!shown) continue;
      seen.add(job.id);
      const parts = this.#cards.get(job.id) ?? this.#add(job);
      this.#update(parts, job);
    }
    for (const [id, parts] of this.#cards) {
      if (!seen.has(id)) { parts.element.remove(); this.#cards.delete(id); }
    }
  }

  #add(job) {
    const name = job.request.prompt || "no words";
    const bar = h("progress", { "aria-label": `Progress of ${name}`, max: 1, value: 0 });
    const state = h("p", { class: "state" });
    const end = h("button", { type: "button", class: "icon", "aria-label": `Cancel ${name}`, title: "Cancel",
      onclick: () => this.#end(job.id) }, icon("close"));
    const element = h("li", { class: "card job", "data-job": job.id },
      h("div", { class: "head" }, h("h3", { text: name, title: name }), end), bar, state);
    element.style.setProperty("--hue", hue(job.request.prompt || job.id));
    $("jobs").append(element);
    const parts = { element, bar, state, end, name };
    this.#cards.set(job.id, parts);
    return parts;
  }

  #update(parts, job) {
    const { progress } = job;
    parts.job = job;
    const failed = job.state === "failed";
    parts.element.classList.toggle("failed", failed);
    parts.bar.hidden = failed;
    if (failed) {
      parts.state.textContent = job.error.message;
      parts.end.setAttribute("aria-label", `Dismiss ${parts.name}`);
      return;
    }
    const parted = progress.steps ? progress.step / progress.steps : 0;
    if (job.state === "queued") parts.bar.value = 0;
    else if (progress.phase === "sampling" && !progress.steps) parts.bar.removeAttribute("value");
    else parts.bar.value = (progress.take - 1 + 0.95 * parted) / progress.takes;
    const which = progress.takes > 1 ? `Take ${progress.take} of ${progress.takes}. ` : "";
    const phase = PHASES[progress.phase] ?? `Step ${progress.step}${progress.steps ? ` of ${progress.steps}` : ""}`;
    const text = job.state === "queued" ? place(job.position) : which + phase;
    if (parts.state.textContent !== text) parts.state.textContent = text;
    if (job.state === "running" && progress.phase === "sampling" && progress.step % 8 === 0) say(text);
  }

  #end(id) {
    const { job } = this.#cards.get(id);
    if (job.state === "failed") {
      this.#hidden.add(id);
      this.#cards.get(id).element.remove();
      this.#cards.delete(id);
    } else this.on.cancel(job);
  }
}

const place = (position) => (position === 1 ? "Next" : `${position - 1} before it`);
