// The console's only script: it reads the front page anew, and knows the keyboard. Without it everything still works.
"use strict";

(() => {
  // --- What the front page shows, read anew while somebody looks ----------------------------------------------------
  const live = document.getElementById("live");
  const stale = document.getElementById("stale");
  const PATIENCE_MS = 8000;
  let timer = 0;
  let readAt = new Date();

  const clock = (at) => at.toISOString().slice(11, 19) + " UTC";

  function sayStale(why) {
    stale.textContent = `${stale.dataset.since} ${clock(readAt)}: ${why} ${stale.dataset.below}`;
    stale.hidden = false;
    live.classList.add("is-stale");
  }

  function words(error) {
    if (error.name === "AbortError") return stale.dataset.late;
    return error.name === "TypeError" ? stale.dataset.gone : error.message;
  }

  function put(text) {
    const focused = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const before = live.querySelector(".live");
    const parsed = new DOMParser().parseFromString(text, "text/html");
    const fresh = parsed.querySelector(".live");
    if (!fresh) throw new Error("the answer is not the page");
    if (fresh.dataset.brake !== before.dataset.brake || fresh.dataset.others !== before.dataset.others) {
      window.location.reload(); // the strip on top says the same
      return;
    }
    live.replaceChildren(fresh);
    if (focused) live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    readAt = new Date();
    stale.hidden = true;
    live.classList.remove("is-stale");
  }

  async function read() {
    window.clearTimeout(timer);
    if (document.hidden) return;
    const cut = new AbortController();
    const limit = window.setTimeout(() => cut.abort(), PATIENCE_MS);
    try {
      const answer = await fetch(live.dataset.live, {
        cache: "no-store", redirect: "manual", signal: cut.signal, headers: { "X-Console-Refresh": "1" },
      });
      if (answer.type === "opaqueredirect") throw new Error("your session has ended: load the page to log in.");
      if (!answer.ok) throw new Error(`the server answered ${answer.status}.`);
      put(await answer.text());
    } catch (error) {
      sayStale(words(error));
    } finally {
      window.clearTimeout(limit);
      timer = window.setTimeout(read, Number(live.dataset.seconds) * 1000);
    }
  }

  if (live) {
    timer = window.setTimeout(read, Number(live.dataset.seconds) * 1000);
    document.addEventListener("visibilitychange", () => (document.hidden ? window.clearTimeout(timer) : read()));
  }

  // --- On a phone the ways are folded away, so that the page begins on the first screen -----------------------------
  const menu = document.querySelector("details.menu");
  if (menu) {
    const isNarrow = window.matchMedia("(max-width: 640px)");
    const fold = () => { menu.open = !isNarrow.matches; };
    fold();
    isNarrow.addEventListener("change", fold);
  }

  // --- Keys: they only follow links and move the focus; no key ever confirms anything ---------------------------------
  const keys = document.getElementById("keys");
  const button = document.getElementById("keys-button");
  const rows = () => [...document.querySelectorAll("[data-row]")];
  let isGoing = false;

  function showKeys() {
    keys.hidden = !keys.hidden;
    button.setAttribute("aria-expanded", String(!keys.hidden));
  }

  function step(by) {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.contains(document.activeElement));
    const to = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))];
    (to.querySelector("a[href]") || to).focus();
  }

  function follow(selector) {
    const link = document.querySelector(selector);
    if (link) link.click();
  }

  function isTyping(target) {
    return target.closest("input, textarea, select, [contenteditable]") !== null;
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (isGoing) {
      isGoing = false;
      if (/^[a-z]$/.test(event.key)) follow(`a[data-go="${event.key}"]`);
      return;
    }
    const acts = {
      g: () => { isGoing = true; }, j: () => step(1), k: () => step(-1), n: () => follow("a[data-next]"),
      o: () => document.activeElement.closest("[data-row]")?.querySelector("a[href]")?.click(),
      "!": () => follow("a.stop-button"), "?": () => keys && showKeys(),
    };
    if (acts[event.key]) {
      event.preventDefault();
      acts[event.key]();
    }
  });
  if (button) button.addEventListener("click", showKeys);
})();
