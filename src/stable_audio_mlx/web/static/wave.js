// A waveform: shows a sound and where it plays, takes clicks as places and drags as selections.

const BAR = 3, GAP = 1, FULL = 1000;

// Quiet parts are heard better than a straight scale would show them.
const tall = (level) => 0.96 * Math.min(Math.max(level / FULL, 0), 1) ** 0.6;

export class Wave {
  #peaks = [];
  #seconds = 0;
  #cursor = 0;
  #drawn = false;

  // on: { seek(seconds), select([from, to] or null) }
  constructor(label, on) {
    this.on = on;
    this.selection = null;
    this.host = document.createElement("div");
    this.host.className = "wave";
    this.host.tabIndex = 0;
    this.host.setAttribute("role", "slider");
    this.host.setAttribute("aria-label", label);
    this.host.setAttribute("aria-valuemin", "0");
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("aria-hidden", "true");
    this.host.append(this.canvas);
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(this.host);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(peaks, seconds) {
    this.#peaks = peaks;
    this.#seconds = seconds;
    this.host.setAttribute("aria-valuemax", seconds.toFixed(2));
    this.cursor = this.#cursor;
  }

  get seconds() { return this.#seconds; }

  get cursor() { return this.#cursor; }

  set cursor(value) {
    this.#cursor = value;
    this.host.setAttribute("aria-valuenow", value.toFixed(2));
    const chosen = this.selection ? `, selected ${this.selection.map((s) => s.toFixed(2)).join(" to ")}` : "";
    this.host.setAttribute("aria-valuetext", `${value.toFixed(2)} of ${this.#seconds.toFixed(2)} seconds${chosen}`);
    this.draw();
  }

  select(range) {
    if (range) {
      const [a, b] = [Math.min(...range), Math.max(...range)].map((s) => Math.min(Math.max(s, 0), this.#seconds));
      range = b - a < 0.005 ? null : [a, b];
    }
    this.selection = range;
    this.cursor = this.#cursor;
  }

  #listen() {
    const place = (event) => {
      const box = this.host.getBoundingClientRect();
      return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.#seconds;
    };
    let start = null, x = 0, moved = false;
    this.host.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.#seconds) return;
      start = place(event);
      x = event.clientX;
      moved = false;
      this.host.setPointerCapture(event.pointerId);
    });
    this.host.addEventListener("pointermove", (event) => {
      if (start === null || (!moved && Math.abs(event.clientX - x) < 5)) return;
      moved = true;
      this.select([start, place(event)]);
    });
    this.host.addEventListener("pointerup", (event) => {
      if (start === null) return;
      if (moved) this.on.select(this.selection);
      else this.on.seek(place(event));
      start = null;
    });
    this.host.addEventListener("pointercancel", () => { start = null; });
    this.host.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    if (event.key === "Enter") { event.preventDefault(); this.on.seek(this.#cursor); return; }
    if (event.key === "Escape" && this.selection) {
      event.stopPropagation();
      this.select(null);
      this.on.select(null);
      return;
    }
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    const end = { Home: 0, End: this.#seconds }[event.key];
    if (step === undefined && end === undefined) return;
    event.preventDefault();
    const from = this.#cursor;
    const to = Math.min(Math.max(end ?? from + step * this.#seconds / 100, 0), this.#seconds);
    if (event.shiftKey) {
      const anchor = this.selection && this.selection[0] === from ? this.selection[1] : this.selection?.[0] ?? from;
      this.select([anchor, to]);
      this.on.select(this.selection);
    }
    this.cursor = to;
  }

  draw() {
    if (this.#drawn) return;
    this.#drawn = true;
    requestAnimationFrame(() => { this.#drawn = false; this.#paint(); });
  }

  #paint() {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (!width) return;
    const scale = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
    }
    const g = this.canvas.getContext("2d");
    const style = getComputedStyle(this.host);
    const color = (name) => style.getPropertyValue(name);
    g.setTransform(scale, 0, 0, scale, 0, 0);
    g.clearRect(0, 0, width, height);
    const toX = (s) => (this.#seconds ? s / this.#seconds : 0) * width;
    if (this.selection) {
      const [a, b] = this.selection.map(toX);
      g.fillStyle = color("--selection");
      g.fillRect(a, 0, b - a, height);
      g.fillStyle = color("--accent");
      g.fillRect(a - 1, 0, 2, height);
      g.fillRect(b - 1, 0, 2, height);
    }
    const count = this.#peaks.length / 2, bars = Math.floor(width / (BAR + GAP)), middle = height / 2;
    const played = toX(this.#cursor);
    for (let i = 0; i < bars; i++) {
      const first = Math.floor((i * count) / bars), last = Math.max(first + 1, Math.floor(((i + 1) * count) / bars));
      let low = 0, high = 0;
      for (let k = first; k < Math.min(last, count); k++) {
        low = Math.min(low, this.#peaks[2 * k]);
        high = Math.max(high, this.#peaks[2 * k + 1]);
      }
      const x = i * (BAR + GAP);
      const top = Math.min(middle - tall(high) * middle, middle - 1);
      const bottom = Math.max(middle + tall(-low) * middle, middle + 1);
      g.fillStyle = x < played ? color("--wave-played") : color("--wave");
      g.beginPath();
      g.roundRect(x, top, BAR, bottom - top, BAR / 2);
      g.fill();
    }
    if (this.#cursor > 0) {
      g.fillStyle = color("--ink");
      g.fillRect(played - 0.75, 0, 1.5, height);
    }
  }
}
