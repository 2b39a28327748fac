// Draws what stands on a page beside its table. Figures come as texts, and are floats only here, to be drawn.
// Without this script, or without the library, the tables say the same.
"use strict";

(() => {
  const language = document.documentElement.lang || "en";
  const HOUR = 3600;
  const DAY = 86400;
  const STEPS = [60, 300, 600, 900, 1800, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 5 * DAY, 7 * DAY];
  const TICK_PX = 64;
  const drawn = new Map();

  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dashes = (text) => text.split(" ").filter(Boolean).map(Number);
  const figure = (value, digits) =>
    new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
  const when = (seconds, zone, options) =>
    new Intl.DateTimeFormat(language, { timeZone: zone, hourCycle: "h23", ...options }).format(new Date(seconds * 1000));

  // How far the zone's clock is ahead, so that marks stand at its own midnight and full hours.
  function ahead(seconds, zone) {
    const parts = {};
    const format = new Intl.DateTimeFormat("en", { timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric" });
    for (const part of format.formatToParts(new Date(seconds * 1000))) parts[part.type] = Number(part.value);
    const local = Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute) / 1000;
    return local - Math.floor(seconds / 60) * 60;
  }

  function marks(scale, zone) {
    const room = Math.max(2, Math.round(scale.width / TICK_PX));
    const span = scale.max - scale.min;
    const least = span > 1.5 * DAY ? DAY : 0; // an hour without its day says nothing, and both are too long
    const step = STEPS.find((each) => each >= least && span / each <= room) || STEPS.at(-1);
    const shift = ahead(scale.min, zone);
    const ticks = [];
    for (let at = Math.ceil((scale.min + shift) / step) * step - shift; at <= scale.max; at += step) ticks.push({ value: at });
    const options = step >= DAY ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" };
    for (const tick of ticks) tick.label = when(tick.value, zone, options);
    return ticks;
  }

  // A figure with nothing on either side would be a line without length: it is shown as a point.
  function isAlone({ dataset, dataIndex }) {
    const seen = (index) => dataset.data[index] && dataset.data[index].y !== null;
    return seen(dataIndex) && !seen(dataIndex - 1) && !seen(dataIndex + 1);
  }

  function line(data, series) {
    const colour = ink(series.limit ? "--c-limit" : `--c${series.number}`);
    return {
      type: "line",
      label: series.label,
      data: series.values.map((value, index) => ({ x: data.times[index], y: value === null ? null : Number(value) })),
      borderColor: colour,
      backgroundColor: colour,
      borderDash: dashes(series.dash),
      borderWidth: series.limit ? 2.5 : 1.75,
      pointRadius: (context) => (isAlone(context) ? 3.5 : 0),
      pointHoverRadius: 4,
      spanGaps: false,
      clip: 6, // a point at the very edge is whole
    };
  }

  function bars(data, series) {
    const colour = ink(series.limit ? "--c-limit" : `--c${series.number}`);
    const values = series.values.map((value) => (value === null ? null : Number(value)));
    if (!series.limit) return { type: "bar", label: series.label, data: values, backgroundColor: colour, maxBarThickness: 36, order: 1 };
    const limit = { label: series.label, data: values, borderColor: colour, backgroundColor: colour, order: 0 };
    // One bar alone has no line to cross it: the limit is a point then.
    return { ...limit, type: "line", borderDash: dashes(series.dash), borderWidth: 2.5, pointRadius: values.length === 1 ? 5 : 0, pointStyle: "rectRot" };
  }

  function options(data) {
    const isTime = data.times !== null;
    const isLying = data.lies;
    const grid = { color: ink("--c-grid") };
    const ticks = { color: ink("--c-soft") };
    const amounts = { grid, beginAtZero: data.zero, grace: "5%", ticks: { ...ticks, callback: (value) => figure(value, value % 1 === 0 ? 0 : Math.min(2, data.digits || 1)) } };
    const times = isTime && {
      type: "linear", min: data.times[0], max: data.until, grid,
      ticks: { ...ticks, maxRotation: 0, autoSkip: false },
      afterBuildTicks: (scale) => { scale.ticks = marks(scale, data.zone); },
      afterTickToLabelConversion: (scale) => { scale.ticks = marks(scale, data.zone); },
    };
    const places = { type: "category", stacked: true, grid: { display: false }, ticks: { ...ticks, autoSkip: false } };
    if (data.digits === 0 && !isTime) amounts.ticks.precision = 0;
    return {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      indexAxis: isLying ? "y" : "x",
      interaction: { mode: "index", axis: isLying ? "y" : "x", intersect: false },
      scales: isLying ? { x: amounts, y: places } : { x: isTime ? times : places, y: amounts },
      plugins: {
        legend: { display: false },
        tooltip: {
          callbacks: {
            title: (items) => (items.length && isTime ? when(items[0].parsed.x, data.zone, { dateStyle: "medium", timeStyle: "short" }) : items[0]?.label),
            label: (item) => `${item.dataset.label}: ${figure(isLying ? item.parsed.x : item.parsed.y, data.digits)} ${data.unit}`,
          },
        },
      },
    };
  }

  function draw(plot) {
    const data = JSON.parse(plot.dataset.chart);
    plot.hidden = false;
    if (data.lies) plot.style.height = `${4 + 2 * data.places.length}rem`;
    drawn.get(plot)?.destroy();
    const datasets = data.series.map((series) => (data.times ? line(data, series) : bars(data, series)));
    const chart = new window.Chart(plot.querySelector("canvas"), { data: { labels: data.times ? undefined : data.places, datasets }, options: options(data) });
    drawn.set(plot, chart);
  }

  function drawAll() {
    if (!window.Chart) return;
    window.Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    document.querySelectorAll("[data-chart]").forEach(draw);
  }

  drawAll();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
})();
