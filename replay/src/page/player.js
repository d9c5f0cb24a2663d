// Plays a session: statements appear when they did, at the recorded speed or faster.

import { duration, element } from "./element.js";

const SPEEDS = [1, 2, 5, 10, 60];
// A longer pause between two statements shows nothing; played, it is shortened to this.
const LONGEST_PAUSE_US = 2e6;

/** A control over cards with offsets in microseconds. It stops when the view is left (`signal`). */
export function player(cards, signal) {
  const times = schedule(cards.map(({ offset }) => offset));
  const end = times.at(-1) ?? 0;
  let position = end;
  let playing = false;
  let before = 0;

  const toggle = button("Play", () => (playing ? pause() : play()));
  toggle.classList.add("primary");
  const back = button("Back", () => step(-1));
  const forward = button("Forward", () => step(1));
  const speed = element("select", { id: "speed", "aria-label": "Speed" },
    SPEEDS.map((factor) => element("option", { value: factor }, `${factor}×`)));
  const slider = element("input", {
    type: "range", min: 0, max: cards.length, step: 1, value: cards.length, "aria-label": "Position in the session",
    on: { input: () => { pause(); go(Number(slider.value)); } },
  });
  const label = element("output", { class: "clock", for: "speed" });

  function shown() {
    return times.filter((time) => time <= position).length;
  }

  function go(number) {
    position = number >= cards.length ? end : number === 0 ? -1 : times[number - 1];
    draw();
  }

  function step(by) {
    pause();
    go(Math.min(Math.max(shown() + by, 0), cards.length));
    cards[shown() - 1]?.card.scrollIntoView({ block: "nearest" });
  }

  function draw() {
    const number = shown();
    cards.forEach(({ card }, index) => {
      card.hidden = index >= number;
      card.classList.toggle("current", index === number - 1 && number < cards.length);
    });
    slider.value = String(number);
    slider.setAttribute("aria-valuetext", `${number} of ${cards.length}`);
    label.textContent = `${number} of ${cards.length} · ${duration(Math.max(0, cards[number - 1]?.offset ?? 0))}`;
    back.disabled = number === 0;
    forward.disabled = number === cards.length;
  }

  function play() {
    if (position >= end) position = -1;
    playing = true;
    toggle.textContent = "Pause";
    before = performance.now();
    draw();
    requestAnimationFrame(tick);
  }

  function pause() {
    playing = false;
    toggle.textContent = "Play";
  }

  function tick(now) {
    if (!playing || signal.aborted) return;
    const was = shown();
    position += Math.max(0, now - before) * 1000 * Number(speed.value);
    before = now;
    if (position >= end) {
      position = end;
      pause();
    }
    if (shown() !== was) {
      draw();
      cards[shown() - 1]?.card.scrollIntoView({ block: "nearest" });
    }
    if (playing) requestAnimationFrame(tick);
  }

  draw();
  return element("div", { class: "player", role: "group", "aria-label": "Play the session" },
    toggle, back, forward, speed, slider, label);
}

function button(label, click) {
  return element("button", { type: "button", on: { click } }, label);
}

/** When each card appears: as recorded, long pauses shortened. */
function schedule(offsets) {
  let played = 0;
  let last = 0;
  return offsets.map((offset) => {
    played += Math.min(Math.max(offset - last, 0), LONGEST_PAUSE_US);
    last = Math.max(offset, last);
    return played;
  });
}
