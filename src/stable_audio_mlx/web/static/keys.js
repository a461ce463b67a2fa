// The keyboard, where it is not needed for typing.

const TYPING = "input:not([type=range], [type=radio], [type=checkbox]), textarea, select, [contenteditable]";
const PRESSING = "button, summary, a, input, [role=slider]";

// on: { space, pad(letter), escape, make, prompt }
export function listen(on, pads) {
  addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); on.make(); return; }
    if (event.key === "Escape") { on.escape(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(TYPING)) return;
    const letter = event.key.toUpperCase();
    if (event.key === " " && !(event.target.closest?.(PRESSING) && !event.target.closest("[role=slider]"))) {
      event.preventDefault();
      if (!event.repeat) on.space();
    } else if (pads.includes(letter)) {
      event.preventDefault();
      if (!event.repeat) on.pad(letter);
    } else if (letter === "P") {
      event.preventDefault();
      on.prompt();
    }
  });
}
