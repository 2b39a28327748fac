// What a page does by itself: say its time zone, listen for news, and write figures as they move. No eval, no styles.
"use strict";

(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const secure = location.protocol === "https:" ? "; Secure" : "";
  if (zone && !document.cookie.split("; ").includes("nexus_zone=" + zone)) {
    document.cookie = `nexus_zone=${zone}; Path=/; Max-Age=31536000; SameSite=Strict${secure}`;
  }

  // Fields that an order's type has no use for are put away; without this script all of them stand there.
  const fit = (form) => {
    const type = form.elements.type.value;
    for (const part of form.querySelectorAll("[data-types]")) part.hidden = !part.dataset.types.split(" ").includes(type);
  };
  const ticket = document.getElementById("ticket");
  if (ticket) {
    fit(ticket);
    ticket.addEventListener("change", () => fit(ticket));
  }

  const address = document.body.dataset.events;
  if (!address || !window.EventSource) return;

  const language = document.documentElement.lang;
  const sign = document.getElementById("pulse");
  const QUIET_MS = 8000; // nothing for so long, and what stands on the page is no longer called live
  const OVER_MS = 30000; // between two looks at whether one must log in
  let heard = 0;
  let source = null;
  let wait = 1000;
  let hasOpened = false;

  // Numbers come as text and are written as text: a decimal is never turned into a float on its way to the eye.
  const written = (text, places) => {
    const minus = text.startsWith("-");
    let [whole, rest = ""] = (minus ? text.slice(1) : text).split(".");
    rest = rest.padEnd(places, "0"); // filled up, never cut
    const group = language === "fr" ? "\u202f" : ",";
    whole = whole.replace(/\B(?=(\d{3})+$)/g, group);
    return (minus ? "\u2212" : "") + whole + (rest ? (language === "fr" ? "," : ".") + rest : "");
  };
  const money = (text) => written(text, 2);
  const plus = (text) => (Number(text) > 0 ? "+" : "") + money(text);

  const digits = (row) => Number(row.dataset.digits) || 0;

  const put = (node, text) => {
    if (!node || node.textContent === text) return;
    node.textContent = text;
    node.classList.remove("moved");
    void node.offsetWidth;
    node.classList.add("moved");
  };

  const tell = (name) => document.body.dispatchEvent(new CustomEvent(`nexus:${name}`));

  const beat = (news) => {
    const mine = `[data-account="${CSS.escape(news.account)}"]`;
    for (const node of document.querySelectorAll(mine)) node.classList.toggle("stale", !news.is_live);
    if (news.is_live && document.querySelector(`${mine}[data-blind]`)) tell("again"); // it answers again
    for (const [name, value] of Object.entries(news.figures || {})) {
      for (const node of document.querySelectorAll(`${mine} [data-live="${name}"]`)) put(node, money(value));
    }
    for (const [id, held] of Object.entries(news.positions || {})) {
      for (const row of document.querySelectorAll(`${mine}[data-position="${CSS.escape(id)}"]`)) {
        put(row.querySelector('[data-live="price"]'), written(held.price, digits(row)));
        const profit = row.querySelector('[data-live="profit"]');
        put(profit, plus(held.profit));
        if (profit) {
          profit.classList.toggle("gain", Number(held.profit) > 0);
          profit.classList.toggle("loss", Number(held.profit) < 0);
        }
      }
    }
    for (const [symbol, quote] of Object.entries(news.quotes || {})) {
      for (const row of document.querySelectorAll(`${mine}[data-symbol="${CSS.escape(symbol)}"]`)) {
        put(row.querySelector('[data-live="bid"]'), written(quote.bid, digits(row)));
        put(row.querySelector('[data-live="ask"]'), written(quote.ask, digits(row)));
      }
    }
  };

  // Nothing is taken from under somebody's hands: a part with an open form waits until it is closed.
  const busy = (part) => part.querySelector("details[open] form") !== null;
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.detail.elt;
    if (part.dataset.careful === undefined || !busy(part)) return;
    event.preventDefault();
    part.dataset.late = "yes";
  });
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const part = event.detail.target;
    if (part.dataset.careful === undefined || !busy(part)) return; // opened while the answer was on its way
    event.detail.shouldSwap = false;
    part.dataset.late = "yes";
  });
  document.body.addEventListener(
    "toggle",
    (event) => {
      const part = event.target.closest("[data-careful]");
      if (part && part.dataset.late && !busy(part)) {
        delete part.dataset.late;
        tell("again");
      }
    },
    true,
  );

  // A request that is given up because a newer one replaces it, or because the page is left, is no error.
  let isLeaving = false;
  let isSpared = false;
  addEventListener("beforeunload", () => (isLeaving = true));
  addEventListener("pageshow", () => (isLeaving = false));
  const quietly = (handler) => {
    const said = console.error;
    console.error = () => {};
    try {
      handler();
    } finally {
      console.error = said;
    }
  };
  document.body.addEventListener("htmx:beforeSend", (event) => {
    const { xhr } = event.detail;
    const { onabort, onerror } = xhr;
    xhr.onabort = (why) => quietly(() => onabort.call(xhr, why));
    xhr.onerror = (why) => (isLeaving ? quietly(() => onerror.call(xhr, why)) : onerror.call(xhr, why));
  });

  const show = () => {
    const isOn = heard > 0 && Date.now() - heard < QUIET_MS;
    document.body.classList.toggle("stale", !isOn && hasOpened);
    if (!sign) return;
    const text = isOn ? sign.dataset.on : sign.dataset.off;
    if (hasOpened || heard) {
      sign.classList.toggle("on", isOn);
      sign.classList.toggle("off", !isOn);
      if (sign.textContent !== text) sign.textContent = text;
    }
  };

  const open = () => {
    source = new EventSource(address, { withCredentials: true });
    source.addEventListener("hello", () => {
      heard = Date.now();
      wait = 1000;
      hasOpened = true;
      show();
    });
    source.addEventListener("news", (event) => {
      heard = Date.now();
      for (const name of JSON.parse(event.data)) tell(name);
    });
    source.addEventListener("pulse", (event) => {
      heard = Date.now();
      beat(JSON.parse(event.data));
      show();
    });
    source.addEventListener("still", () => {
      heard = Date.now();
      show();
    });
    source.addEventListener("over", () => {
      source.close(); // or it would come back, and be told the same again
      if (isLeaving && !isSpared) {
        isSpared = true; // a page may be on its way that is shown once, as recovery codes are: it is not taken away
        setTimeout(open, OVER_MS);
        return;
      }
      const last = Number(sessionStorage.getItem("over"));
      sessionStorage.setItem("over", Date.now());
      if (Date.now() - last < OVER_MS) {
        hasOpened = true; // the login has sent us back here: the two disagree, and we do not load for ever
        show();
        setTimeout(open, OVER_MS);
        return;
      }
      isLeaving = true;
      location.assign("/login");
    });
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return;
      hasOpened = true;
      show();
      setTimeout(open, wait);
      wait = Math.min(wait * 2, 15000);
    };
  };
  open();
  setInterval(show, 1000);
  addEventListener("pagehide", () => source && source.close());
  addEventListener("pageshow", (event) => event.persisted && open());
})();
