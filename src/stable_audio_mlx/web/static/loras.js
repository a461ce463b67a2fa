// The sliders for LoRAs.

import { $, h } from "./dom.js";

const told = (strength) => (strength ? strength.toFixed(2) : "off");

export class Loras {
  strengths = {}; // name -> strength; those of a model that is not chosen wait until it is
  #fits = {}; // name -> why it does not fit the chosen model; empty where it does

  show(fits = {}) {
    this.#fits = fits;
    const names = Object.keys(fits);
    $("loras").hidden = !names.length;
    $("lora-list").replaceChildren(...names.map((name) => this.#slider(name, fits[name])));
  }

  #slider(name, misfit) {
    const strength = this.strengths[name] ?? 0;
    const out = h("output", { text: told(strength) });
    const slider = h("input", {
      type: "range", min: "0", max: "1.5", step: "0.05", value: String(strength), disabled: !!misfit,
      oninput: () => {
        this.strengths[name] = Number(slider.value);
        out.textContent = told(this.strengths[name]);
      },
    });
    const hint = misfit && h("span", { class: "hint", text: `${misfit.split(":")[0]}.`, title: misfit });
    return h("label", { class: "slider" }, h("span", { text: name }), slider, out, hint);
  }

  // [[name, strength]] of those that act.
  get acting() {
    return Object.entries(this.strengths).filter(([name, strength]) => strength && this.#fits[name] === "");
  }
}
