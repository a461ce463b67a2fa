// Sound: one voice that the transport shows, and pads that play over each other.

const KEPT_SECONDS = 900; // of decoded sound
const FADE = 0.012;

export class Player extends EventTarget {
  #context = null;
  #gain = null;
  #buffers = new Map(); // id -> promise of an AudioBuffer, the least recently used first
  #voices = new Map(); // id -> voice
  #volume = 0.9;
  current = null; // the take of the transport's voice
  loop = false;
  #asked = 0;

  // To be called in a click or key: browsers let no page make sound by itself.
  unlock() {
    if (!this.#context) {
      this.#context = new AudioContext({ latencyHint: "interactive" });
      this.#gain = this.#context.createGain();
      this.#gain.gain.value = this.#volume;
      this.#gain.connect(this.#context.destination);
    }
    if (this.#context.state !== "running") this.#context.resume();
  }

  set volume(value) {
    this.#volume = value;
    this.#gain?.gain.setTargetAtTime(value, this.#context.currentTime, 0.01);
  }

  async load(take) {
    this.unlock();
    let found = this.#buffers.get(take.id);
    this.#buffers.delete(take.id);
    found ??= fetch(take.url)
      .then((reply) => (reply.ok ? reply.arrayBuffer() : Promise.reject(new Error(reply.status))))
      .then((bytes) => this.#context.decodeAudioData(bytes));
    this.#buffers.set(take.id, found);
    found.then((buffer) => { found.seconds = buffer.duration; this.#forget(); }, () => this.#buffers.delete(take.id));
    return found;
  }

  #forget() {
    let sum = 0;
    for (const [id, one] of [...this.#buffers].reverse()) {
      sum += one.seconds ?? 0;
      if (sum > KEPT_SECONDS && !this.#voices.has(id)) this.#buffers.delete(id);
    }
  }

  // Play as the transport's voice; what played before stops.
  async play(take, from = 0, range = null) {
    const asked = ++this.#asked;
    const buffer = await this.load(take);
    if (asked !== this.#asked) return; // another take was chosen while this one was loading
    this.#silence();
    this.current = take;
    this.#start(take, buffer, from, range);
  }

  // Play over what plays, like a pad.
  async trigger(take) {
    const buffer = await this.load(take);
    this.#end(take.id);
    this.current = take;
    this.#start(take, buffer, 0, null, true);
  }

  #start(take, buffer, from, range, pad = false) {
    const context = this.#context;
    const [first, last] = range ?? [0, buffer.duration];
    const at = from >= last - 0.01 || from < 0 ? first : from;
    const source = new AudioBufferSourceNode(context, { buffer, loop: this.loop && !pad, loopStart: first, loopEnd: last });
    const gain = new GainNode(context, { gain: 1 });
    source.connect(gain).connect(this.#gain);
    const voice = { take, source, gain, begun: context.currentTime, at, first, last, duration: buffer.duration, pad };
    source.onended = () => this.#over(voice, true);
    if (range && !source.loop) source.start(0, at, last - at);
    else source.start(0, at);
    this.#voices.set(take.id, voice);
    this.#changed();
  }

  #over(voice, natural) {
    if (this.#voices.get(voice.take.id) !== voice) return;
    this.#voices.delete(voice.take.id);
    this.#changed();
    if (natural) this.dispatchEvent(new CustomEvent("ended", { detail: voice.take }));
  }

  #end(id) {
    const voice = this.#voices.get(id);
    if (!voice) return;
    const now = this.#context.currentTime;
    voice.gain.gain.setTargetAtTime(0, now, FADE / 3);
    voice.source.stop(now + FADE);
    this.#over(voice, false);
  }

  #silence() { for (const id of [...this.#voices.keys()]) this.#end(id); }

  stop() { this.#asked++; this.#silence(); }

  setLoop(on) {
    this.loop = on;
    for (const voice of this.#voices.values()) {
      if (voice.pad) continue;
      const at = this.position(voice.take.id);
      voice.source.loop = on;
      voice.begun = this.#context.currentTime; // the place is counted anew from here
      voice.at = at;
    }
  }

  playing(id) { return this.#voices.has(id); }

  get busy() { return this.#voices.size > 0; }

  // Seconds into the take; null where it does not play.
  position(id) {
    const voice = this.#voices.get(id);
    if (!voice) return null;
    const place = voice.at + this.#context.currentTime - voice.begun;
    if (!voice.source.loop) return Math.min(place, voice.duration);
    return place < voice.last ? place : voice.first + ((place - voice.first) % (voice.last - voice.first));
  }

  #changed() { this.dispatchEvent(new Event("change")); }
}
