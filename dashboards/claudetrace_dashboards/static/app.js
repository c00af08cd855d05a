// The pages work without this. It adds: filters that apply at once, a tip under the pointer, the browser's own clock,
// panels that come later, and a refresh that keeps the place. Text goes into the page as text, never as markup.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("with-script");
  const status = document.getElementById("status");
  const tip = document.getElementById("tip");
  const SVG = "http://www.w3.org/2000/svg";

  const CLOCK = "claudetrace-clock";
  const isLocal = () => { try { return localStorage.getItem(CLOCK) === "local"; } catch { return false; } };

  // Times carry their zone: UTC, or the browser's where the reader has chosen so.
  function clocks(within) {
    const timeZone = isLocal() ? undefined : "UTC";
    const options = {
      year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
      hour12: false, timeZone,
    };
    for (const each of within.querySelectorAll("time[datetime]")) {
      const at = new Date(each.dateTime);
      if (isNaN(at)) continue;
      const zone = new Intl.DateTimeFormat("en", { timeZoneName: "shortOffset", timeZone }).formatToParts(at)
        .find((part) => part.type === "timeZoneName").value.replace("GMT", "UTC").replace(/\+0$/, "");
      each.textContent = `${at.toLocaleString("sv", options)} ${zone}`;
    }
    for (const each of within.querySelectorAll("[data-zone]")) each.textContent = isLocal() ? "Times: local" : "Times: UTC";
  }

  function prepare(within) {
    clocks(within);
    // The tip says the same, sooner.
    for (const each of within.querySelectorAll("[data-tip] > title")) each.remove();
  }

  function line(text) {
    const [css, name, value] = text.includes("\t") ? text.split("\t") : ["", text];
    const row = document.createElement("p");
    if (css) {
      const key = document.createElementNS(SVG, "svg");
      key.setAttribute("width", "10");
      key.setAttribute("height", "10");
      const [color, stripes] = css.split(" ");
      for (const [name, fill] of [[color, ""], ...(stripes ? [["stripes", `url(#${stripes})`]] : [])]) {
        const dot = document.createElementNS(SVG, "rect");
        dot.setAttribute("width", "10");
        dot.setAttribute("height", "10");
        dot.setAttribute("class", name);
        if (fill) dot.setAttribute("fill", fill);
        key.append(dot);
      }
      row.append(key);
    }
    row.append(name);
    if (value !== undefined) {
      const figure = document.createElement("b");
      figure.textContent = value;
      row.append(figure);
    }
    return row;
  }

  document.addEventListener("pointermove", (event) => {
    if (!tip) return;
    const target = event.target instanceof Element && event.target.closest("[data-tip]");
    tip.hidden = !target;
    if (!target) return;
    tip.replaceChildren(...target.dataset.tip.split("\n").filter(Boolean).map(line));
    const box = tip.getBoundingClientRect();
    const right = event.clientX + 14 + box.width > innerWidth;
    tip.style.left = `${Math.max(4, right ? event.clientX - box.width - 10 : event.clientX + 14)}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 4))}px`;
  });
  document.addEventListener("pointerleave", () => { if (tip) tip.hidden = true; });
  document.addEventListener("scroll", () => { if (tip) tip.hidden = true; }, true);

  async function fetched(url) {
    const answer = await fetch(url, { credentials: "same-origin" });
    if (!answer.ok && !(answer.headers.get("content-type") || "").startsWith("text/html")) {
      throw new Error(`the server says ${answer.status}`);
    }
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  function failed(panel, error) {
    const message = document.createElement("p");
    message.className = "message";
    message.textContent = `It could not be loaded: ${error.message}. `;
    const again = document.createElement("button");
    again.textContent = "Try again";
    again.addEventListener("click", () => load(panel));
    message.append(again);
    panel.removeAttribute("aria-busy");
    panel.classList.replace("is-loading", "is-failed");
    panel.querySelector(".message")?.replaceWith(message);
  }

  async function load(panel) {
    try {
      const found = (await fetched(panel.dataset.src)).querySelector(".panel");
      if (!found) throw new Error("the answer is not a panel");
      prepare(found);
      panel.replaceWith(found);
    } catch (error) {
      failed(panel, error);
    }
  }

  function loadLate() {
    for (const panel of document.querySelectorAll(".panel[aria-busy]")) load(panel);
  }

  async function refresh(link) {
    const panels = document.getElementById("panels");
    link.textContent = "Refreshing …";
    try {
      const fresh = await fetched(location.href);
      const news = fresh.getElementById("panels");
      if (!news) throw new Error("the ledger cannot be shown now");
      for (const panel of news.querySelectorAll(".panel")) {
        const old = panel.id && document.getElementById(panel.id);
        if (!old) continue;
        const open = [...old.querySelectorAll("details")].map((each) => each.open);
        panel.querySelectorAll("details").forEach((each, number) => { each.open = open[number] ?? false; });
        prepare(panel);
        old.replaceWith(panel);
      }
      const when = new Date().toLocaleTimeString(undefined, { hour12: false });
      link.textContent = `Refresh (${when})`;
      status.textContent = `Refreshed at ${when}`;
      loadLate();
    } catch (error) {
      link.textContent = "Refresh";
      status.textContent = `Not refreshed: ${error.message}`;
      panels.before(Object.assign(document.createElement("p"), {
        className: "warning", textContent: `Not refreshed: ${error.message}.`,
      }));
    }
  }

  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("[data-refresh]");
    if (link && document.getElementById("panels")) {
      event.preventDefault();
      document.querySelectorAll("main > .warning:not([role])").forEach((each) => each.remove());
      refresh(link);
    }
    for (const open of document.querySelectorAll("details.custom[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  });

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element) || !event.target.closest("[data-zone]")) return;
    try { localStorage.setItem(CLOCK, isLocal() ? "utc" : "local"); } catch { return; }
    clocks(document);
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const open of document.querySelectorAll("details.custom[open]")) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  });

  // A key on a closed list goes from choice to choice, and each is a change: only Enter, Apply or the pointer says which.
  let keyed = false;
  const listOf = (event) => event.target instanceof HTMLSelectElement && event.target.form?.classList.contains("filters")
    ? event.target : null;
  document.addEventListener("pointerdown", () => { keyed = false; }, true);
  document.addEventListener("keydown", (event) => {
    const list = listOf(event);
    if (!list) return;
    keyed = event.key !== "Enter";
    if (event.key === "Enter" && list.form.classList.contains("pending")) {
      event.preventDefault();
      list.form.requestSubmit();
    }
  }, true);
  document.addEventListener("change", (event) => {
    const list = listOf(event);
    if (!list) return;
    if (keyed) list.form.classList.add("pending");
    else list.form.requestSubmit();
  });

  // Empty fields would only make the URL longer.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.classList.contains("filters")) return;
    const pressed = event.submitter?.value === "days";
    const days = pressed || document.activeElement?.type === "date";
    const range = form.querySelector("input[name=range]");
    const named = range.value;
    if (days) range.value = "days";
    range.disabled = pressed;
    for (const field of form.querySelectorAll("input, select")) {
      const unasked = field.type === "date" ? !days : days && ["from", "to"].includes(field.name);
      if (!field.value || unasked) field.disabled = true;
    }
    // Back in the history, the fields are wanted again.
    setTimeout(() => {
      form.querySelectorAll(":disabled").forEach((field) => { field.disabled = false; });
      range.value = named;
    });
  });

  prepare(document);
  loadLate();
})();
