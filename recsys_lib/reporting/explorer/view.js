// What the page shows and how it is moved; every number comes from model.js.
(() => {
  "use strict";
  const T = TABLES, model = Model(T), $ = (id) => document.getElementById(id);
  const KINDS = { counting: "counts who chose what", text: "reads item texts", both: "counts and reads", LLM: "an LLM orders every list" };
  const COLOURS = { counting: "var(--counting)", text: "var(--text)", both: "var(--both)", LLM: "var(--llm)" };
  const REGIMES = { seen: "items with interactions", new: "new items" };
  const AXES = {
    usd_per_month: ["dollars a month", usd], usd_per_million: ["dollars per million lists", usd],
    request_s: ["latency", time], joules_per_month: ["kWh a month", (x) => count(x / 3.6e6)],
  };
  // [name, label, lowest, highest, logarithmic, digits shown, how it is written, what it means]
  const TRAFFIC = [
    ["requests_per_s", "Requests a second, at the peak", 0.1, 1e5, true, 2, count],
    ["items", "Items in the catalogue", 1e3, 1e8, true, 2, count],
    ["new_items_per_day", "New items a day", 1, 1e8, true, 2, count],
    ["refreshes_per_month", "Whole catalogue made anew, times a month", 0, 60, false, 0, count],
    ["users", "Users", 1e3, 1e9, true, 2, count],
    ["latency_limit_s", "Latency allowed", 0.002, 10, true, 2, time],
    ["text_tokens", "Tokens in an item's text", 0, T.text_lengths.length - 1, false, 0, count],
  ];
  const TARGETS = [
    ["seen", "On items with interactions", 0, 0.6, false, 2, ndcg], ["new", "Among items without any", 0, 0.6, false, 2, ndcg],
  ];
  const ASSUMED = [
    ["cpu_price", "Price of processors, times the list", 0.25, 4, true, 2, times],
    ["gpu_price", "Price of GPUs, times the list", 0.1, 4, true, 2, times],
    ["utilization", "Share of held time that works", 0.1, 1, false, 2, percent],
    ["share", "Share of the hardware's limit that unmeasured work reaches", 0.1, 1, false, 2, percent,
      "100% is the bound of the data sheet: nothing is faster"],
    ["usd_per_new_item", "What a new item earns if placed perfectly at once", 1e-4, 100, true, 2, usd],
  ];
  const KNOBS = [...TRAFFIC, ...TARGETS, ...ASSUMED];
  const DEFAULTS = { cpu_price: 1, gpu_price: 1, utilization: T.assumptions.utilization, share: 1, usd_per_new_item: 0.05 };
  let state = {}, look = { regime: "seen", axis: "usd_per_month" }, opened = new Set();

  // ---- numbers in words

  function sig(x, digits) { return Number(x.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: 15 }); }
  function usd(x) {
    if (!isFinite(x)) return "never";
    if (x >= 1e6) return `$${sig(x / 1e6, 3)} million`;
    if (x >= 100) return `$${Math.round(x).toLocaleString("en")}`;
    return x >= 1 ? `$${x.toFixed(2)}` : x === 0 ? "$0" : `$${sig(x, 2)}`;
  }
  function count(x) { return x >= 1e9 ? `${sig(x / 1e9, 3)} billion` : x >= 1e6 ? `${sig(x / 1e6, 3)} million` : sig(x, 3); }
  function time(x) { return x < 0.9995 ? `${sig(x * 1e3, 3)} ms` : `${sig(x, 3)} s`; }
  function bytes(x) { return x >= 1e12 ? `${sig(x / 1e12, 3)} TB` : x >= 1e9 ? `${sig(x / 1e9, 3)} GB` : `${sig(x / 1e6, 3)} MB`; }
  function ndcg(x) { return x === null ? "not measured" : x.toFixed(3).replace(/^0/, ""); }
  function times(x) { return `× ${sig(x, 2)}`; }
  function percent(x) { return `${Math.round(x * 100)}%`; }
  const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

  // ---- the state, kept in the address

  const scenarioState = (name) => {
    const { about, ...fields } = T.scenarios[name];
    return { scenario: name, protocol: T.protocol, ...DEFAULTS, ...fields };
  };

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const name = T.scenarios[given.get("scenario")] ? given.get("scenario") : Object.keys(T.scenarios)[0];
    state = scenarioState(name);
    for (const [key, value] of given) {
      if (key === "regime" && value in REGIMES) look.regime = value;
      if (key === "axis" && value in AXES) look.axis = value;
      if (key === "protocol" && value in T.quality) state.protocol = value;
      const [, , low, high] = KNOBS.find(([knob]) => knob === key) ?? [];
      const number = Number(value);
      if (key === "text_tokens" ? T.text_lengths.includes(number) : number >= low && number <= high) state[key] = number;
    }
  }

  function address() {
    const base = scenarioState(state.scenario), given = new URLSearchParams({ scenario: state.scenario });
    for (const key in base) if (key !== "scenario" && state[key] !== base[key]) given.set(key, state[key]);
    if (look.regime !== "seen") given.set("regime", look.regime);
    if (look.axis !== "usd_per_month") given.set("axis", look.axis);
    return `#${given}`;
  }

  function assumed() {
    const shares = { ...T.shares };
    // Only what nobody measured on any machine is slowed: naming a share would make its machine a candidate.
    const known = new Set(Object.keys(T.shares).map((work) => work.split(" on ")[0]));
    if (state.share < 1) for (const work of T.works) if (!known.has(work.split(" on ")[0])) shares[work] = state.share;
    const { cpu_price, gpu_price, utilization } = state;
    return { ...T.assumptions, cpu_price, gpu_price, utilization, shares };
  }

  // ---- controls

  function segments(box, name, choices, chosen, moved) {
    box.innerHTML = Object.entries(choices).map(([value, label]) =>
      `<label><input type="radio" name="${name}" value="${escape(value)}"${value === chosen ? " checked" : ""}><span>${escape(label)}</span></label>`).join("");
    box.onchange = (event) => moved(event.target.value);
  }

  const spoken = (name, value) => (name === "text_tokens" ? T.text_lengths[value] : value);

  function knob([name, label, low, high, log, digits, , means]) {
    const place = document.createElement("div"), step = log ? 0.01 : name === "text_tokens" || !digits ? 1 : 0.01;
    const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
    place.className = "knob";
    place.innerHTML = `<label for="${name}">${label}</label><output for="${name}"></output>
      <input type="range" id="${name}" min="${from}" max="${to}" step="${step}">${means ? `<small>${means}</small>` : ""}`;
    place.querySelector("input").addEventListener("input", (event) => {
      const value = Number(event.target.value);
      state[name] = log ? Number((10 ** value).toPrecision(digits)) : Number(spoken(name, value).toFixed(3));
      show();
    });
    return place;
  }

  function setKnobs() {
    for (const [name, , low, high, log, , written] of KNOBS) {
      const input = $(name), value = name === "text_tokens" ? T.text_lengths.indexOf(state[name]) : state[name];
      const at = log ? Math.log10(Math.min(high, Math.max(low, value))) : value;
      if (document.activeElement !== input) input.value = at;
      const text = written(state[name]);
      input.setAttribute("aria-valuetext", text);
      input.parentElement.querySelector("output").textContent = text;
    }
  }

  // ---- the answer in words

  const machines = (c) => c.stacks.map((k, i) => `${count(c.bills[i].machines)} × ${k.machine.name}`).join(" and ");

  function verdict(choices, best) {
    const asked = [["seen", "on items with interactions"], ["new", "among new items"]]
      .filter(([key]) => state[key] > 0).map(([key, words]) => `${ndcg(state[key])} ${words}`).join(" and ");
    const lists = state.requests_per_s * state.utilization * model.monthSeconds;
    const llm = choices.filter((c) => c.kind === "LLM").reduce((a, b) => (b.usd_per_month < a.usd_per_month ? b : a));
    const parts = [];
    if (best) {
      parts.push(`<p class="big">${escape(best.name)}, at ${usd(best.usd_per_month)} a month, is the cheapest way measured
        ${asked ? `to reach ${asked}` : "to recommend anything"}.</p>`);
      parts.push(`<p>It runs on ${machines(best)}, answers in ${time(best.request_s)}, and a million lists cost ${usd(best.usd_per_million)} of work.</p>`);
      const first = best.stacks[0];
      if (best.way.readers.length) {
        const encoded = (state.items * state.refreshes_per_month + state.new_items_per_day * T.units.month_days) * best.usd_per_item;
        parts.push(`<p>Its language model reads each item once, on ${first.batch.name}: <b>${usd(encoded)}</b> of the bill.</p>`);
      } else parts.push("<p>No language model is needed for that.</p>");
      const extra = llm.usd_per_month - best.usd_per_month;
      parts.push(`<p>An LLM that orders every list anew costs <b>${usd(llm.usd_per_month)}</b>${llm.problem ? ` and ${llm.problem.replace("answers in", "is too slow:")}` : ""}.
        Its quality was not measured here; each thousand lists would have to earn ${usd((extra / lists) * 1e3)} more.</p>`);
    } else {
      const able = choices.filter((c) => !c.problem);
      const top = (key) => Math.max(...able.map((c) => c[key] ?? 0));
      parts.push(`<p class="big">No way that was measured reaches ${asked} with this traffic.</p>`);
      parts.push(able.length ? `<p>What can be housed reaches at most ${ndcg(top("seen"))} on items with interactions and ${ndcg(top("new"))} among new ones.</p>`
        : "<p>None answers within the latency allowed.</p>");
    }
    $("verdict").innerHTML = parts.join("");
  }

  // ---- the chart

  // As wide as there is room, so that letters keep their size on a phone.
  let W = 760;
  const H = 400, LEFT = 48, RIGHT = 16, TOP = 12, FLOOR = 330, UNKNOWN = 362;

  function shape(kind, x, y, r, more) {
    const dots = {
      counting: `<circle cx="${x}" cy="${y}" r="${r}"`, text: `<rect x="${x - r}" y="${y - r}" width="${2 * r}" height="${2 * r}"`,
      both: `<path d="M${x} ${y - r * 1.3}L${x + r * 1.3} ${y}L${x} ${y + r * 1.3}L${x - r * 1.3} ${y}Z"`,
      LLM: `<path d="M${x} ${y - r * 1.2}L${x + r * 1.2} ${y + r}L${x - r * 1.2} ${y + r}Z"`,
    };
    return `${dots[kind]} ${more}/>`;
  }

  function chart(choices, best) {
    const [label, written] = AXES[look.axis], quality = look.regime;
    W = Math.max(340, Math.min(760, $("chart").clientWidth || 760));
    const shown = choices.filter((c) => c[look.axis] > 0);
    const low = Math.min(...shown.map((c) => c[look.axis])) / 1.4, high = Math.max(...shown.map((c) => c[look.axis])) * 1.4;
    const tallest = Math.max(0.1, state[quality], ...shown.map((c) => c[quality] ?? 0)) * 1.12;
    const X = (v) => LEFT + ((Math.log(v) - Math.log(low)) / (Math.log(high) - Math.log(low))) * (W - LEFT - RIGHT);
    const Y = (v) => (v === null ? UNKNOWN : FLOOR - (v / tallest) * (FLOOR - TOP));
    const out = [`<svg viewBox="0 0 ${W} ${H + 8}" role="img" aria-label="${escape(`NDCG@10 on ${REGIMES[quality]} against ${label}; the table below holds the numbers`)}">`];
    for (let v = 0; v <= tallest; v += 0.1)
      out.push(`<line class="grid" x1="${LEFT}" x2="${W - RIGHT}" y1="${Y(v)}" y2="${Y(v)}"/><text class="tick" x="${LEFT - 8}" y="${Y(v) + 4}" text-anchor="end">${v.toFixed(1)}</text>`);
    const decades = [], wide = Math.log10(high / low) > 1.2;
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
      for (const m of wide ? [1] : [1, 2, 5]) if (m * 10 ** e >= low && m * 10 ** e <= high) decades.push(m * 10 ** e);
    const least = Math.max(1, Math.ceil((decades.length * 95) / W));
    decades.filter((_, i) => i % least === 0).forEach((v) => out.push(`<line class="grid" x1="${X(v)}" x2="${X(v)}" y1="${TOP}" y2="${UNKNOWN + 12}"/><text class="tick" x="${X(v)}" y="${H}" text-anchor="middle">${written(v)}</text>`));
    out.push(`<text class="tick" x="${LEFT}" y="${TOP - 2}">NDCG@10</text><text class="tick" x="${LEFT + 2}" y="${UNKNOWN - 14}">quality not measured:</text>`);
    if (state[quality] > 0) out.push(`<line class="target" x1="${LEFT}" x2="${W - RIGHT}" y1="${Y(state[quality])}" y2="${Y(state[quality])}"/><text class="tick" x="${W - RIGHT}" y="${Y(state[quality]) - 5}" text-anchor="end">asked for</text>`);
    const able = shown.filter((c) => !c.problem && c[quality] !== null).sort((a, b) => a[look.axis] - b[look.axis] || b[quality] - a[quality]);
    const front = [];
    for (const c of able) if (!front.length || c[quality] > front.at(-1)[quality]) front.push(c);
    if (front.length) out.push(`<path class="front" d="${front.map((c, i) => (i ? `H${X(c[look.axis])}V${Y(c[quality])}` : `M${X(c[look.axis])} ${Y(c[quality])}`)).join("")}H${W - RIGHT}"/>`);
    const rank = (c) => (c === best ? 0 : front.includes(c) ? 1 : c.problem ? 3 : 2);
    const points = shown.map((c) => ({ c, x: X(c[look.axis]), y: Y(c[quality]), rank: rank(c) })).sort((a, b) => b.rank - a.rank);
    for (const { c, x, y } of points)
      out.push(shape(c.kind, x, y, c === best ? 8 : 6, `class="point${c[quality] === null ? " unknown" : ""}${c.problem ? " off" : ""}" data-way="${escape(c.name)}" style="${c[quality] === null ? `stroke:${COLOURS[c.kind]}` : `fill:${COLOURS[c.kind]}`}"`)
        .replace(/\/>$/, `><title>${escape(`${c.name}: ${ndcg(c[quality])}, ${written(c[look.axis])}${c.problem ? ` (${c.problem})` : ""}`)}</title></${c.kind === "counting" ? "circle" : c.kind === "text" ? "rect" : "path"}>`));
    out.push(...labels(points.reverse(), best), "</svg>");
    $("chart").innerHTML = out.join("");
    $("legend").innerHTML = Object.entries(KINDS).map(([kind, words]) => `<li><svg viewBox="0 0 14 14" aria-hidden="true">${shape(kind, 7, 7, 4.5, `style="fill:${COLOURS[kind]}"`)}</svg>${words}</li>`).join("")
      + `<li>dashed: nothing is both cheaper and better</li>${choices.some((c) => c.problem) ? "<li>faint: cannot serve this traffic</li>" : ""}`;
  }

  // One name for points that lie together, in the first free place beside them.
  function labels(points, best) {
    const clusters = [], taken = points.map((p) => [p.x - 7, p.y - 7, p.x + 7, p.y + 7]), out = [];
    for (const p of points) {
      const near = clusters.find((k) => Math.hypot(k.x - p.x, k.y - p.y) < 9);
      near ? near.names.push(p.c.name) : clusters.push({ ...p, names: [p.c.name] });
    }
    for (const k of clusters) {
      k.names.sort((a, b) => a.length - b.length);
      const text = k.names.length > 2 ? `${k.names[0]} and ${k.names.length - 1} more` : k.names.join(", ");
      const w = text.length * 6.3 + 4;
      const places = [[k.x + 11, k.y + 4, "start"], [k.x - 11, k.y + 4, "end"], [k.x, k.y - 12, "middle"], [k.x, k.y + 21, "middle"],
        [k.x + 9, k.y - 10, "start"], [k.x + 9, k.y + 18, "start"], [k.x - 9, k.y - 10, "end"], [k.x - 9, k.y + 18, "end"]];
      for (const [x, y, anchor] of places) {
        const left = anchor === "start" ? x : anchor === "end" ? x - w : x - w / 2, box = [left, y - 11, left + w, y + 3];
        const hit = (b) => b[0] < box[2] && b[2] > box[0] && b[1] < box[3] && b[3] > box[1];
        if (left < LEFT || left + w > W || taken.some(hit)) continue;
        taken.push(box);
        out.push(`<text x="${x}" y="${y}" text-anchor="${anchor}"${k.c === best ? ' font-weight="700"' : ""}>${escape(text)}</text>`);
        break;
      }
    }
    return out;
  }

  // ---- when reading pays

  function pays(choices) {
    const by = Object.fromEntries(choices.map((c) => [c.name, c]));
    const rows = choices.filter((c) => c.kind === "both" && !c.problem).map((c) => {
      const base = by[c.way.serves.includes("ease") ? "EASE" : "ItemKNN"], at = model.breakEven(c, base, state.usd_per_new_item);
      const gained = c.new === null || base.new === null ? null : c.new - base.new;
      const extra = c.usd_per_month - c.bills[0].fresh - (base.usd_per_month - base.bills[0].fresh);
      const needed = (Math.max(0, extra) / (state.new_items_per_day * T.units.month_days) + c.usd_per_item) / state.usd_per_new_item;
      const says = at === null ? `unknown; at your ${count(state.new_items_per_day)} a day it pays if it gains ${needed > 1 ? "more than is possible" : `at least ${needed < 0.0005 ? "a trace" : ndcg(needed)}`}`
        : at === Infinity ? "never at this value" : at < 1 ? "<b>pays</b> from the first new item" : at <= state.new_items_per_day ? `<b>pays</b>: above ${count(at)} new items a day` : `not yet: above ${count(at)} new items a day`;
      return `<tr><td>${escape(c.name)} <span class="soft">over ${base.name}</span></td><td class="number">${usd(c.usd_per_item * 1e6)}</td><td class="number">${gained === null ? "?" : ndcg(gained)}</td><td>${says}</td></tr>`;
    });
    $("pays").innerHTML = rows.length ? `<table class="pays"><thead><tr><th>Way</th><th class="number">to encode a million items</th><th class="number">NDCG gained on new items</th>
      <th>if a new item placed perfectly earns ${usd(state.usd_per_new_item)}</th></tr></thead><tbody>${rows.join("")}</tbody></table>`
      : "<p>No way that counts and reads can serve this traffic.</p>";
  }

  // ---- the table

  function inputs(c) {
    const rows = [];
    c.stacks.forEach((k, i) => {
      const b = c.bills[i], m = k.machine, rate = m.usd_per_hour * (m.kind === "cpu" ? state.cpu_price : state.gpu_price);
      rows.push(["serving", `${count(b.machines)} × ${m.about} × ${usd(rate)} an hour × ${T.units.month_h} hours = ${usd(b.serving)}`]);
      rows.push(["price", `${m.offer}, read ${m.date}`]);
      rows.push(["why so many", `${count(k.requests_per_s)} requests a second each at most, held at ${percent(state.utilization)}; ${bytes(k.memory_bytes + k.bytes_per_item * state.items)} in ${bytes(m.memory_bytes * T.usable)} usable`]);
      if (k.item_s) {
        const again = state.items * k.item_s, rent = k.batch.usd_per_hour * (k.batch.kind === "cpu" ? state.cpu_price : state.gpu_price);
        rows.push(["encoding", `${sig(k.item_s * 1e6, 3)} µs an item on ${k.batch.name} at ${usd(rent)} an hour (${k.batch.offer}, read ${k.batch.date}); the catalogue in ${time(again)}`]);
        rows.push(["new items", usd(b.fresh)]);
      }
      if (i === 0) rows.push(["refreshes", `${usd(c.usd_per_refresh)} × ${count(state.refreshes_per_month)} = ${usd(b.refreshes)}; fitting takes ${time(k.refit_s)}`]);
      rows.push(["times are", k.basis === "bound" ? "bounds: the least that the data sheet allows" : "modelled: the bound over the share that such work reached where it was measured"]);
    });
    rows.push(["energy", `${count(c.joules_per_month / 3.6e6)} kWh a month, a model: rated power × (${T.idle_share} + ${sig(1 - T.idle_share, 2)} × utilization)`]);
    return `<dl>${rows.map(([k, v]) => `<dt>${k}</dt><dd>${escape(v)}</dd>`).join("")}</dl>`;
  }

  function table(choices, best) {
    const head = ["way", "seen", "new", "a month", "per million", "per refresh", "latency"];
    const sorted = [...choices].sort((a, b) => !!a.problem - !!b.problem || a.usd_per_month - b.usd_per_month);
    const cell = (label, text) => `<span data-label="${label}">${text}</span>`;
    const rows = sorted.map((c) => `<details data-way="${escape(c.name)}" data-usd-per-month="${c.usd_per_month}" data-usd-per-million="${c.usd_per_million}"
        data-usd-per-refresh="${c.usd_per_refresh}" data-request-s="${c.request_s}" data-joules-per-month="${c.joules_per_month}" data-problem="${escape(c.problem)}"
        class="${c === best ? "best" : ""}"${opened.has(c.name) ? " open" : ""}><summary>
      <span data-name><span class="swatch" style="background:${COLOURS[c.kind]}"></span>${c === best ? `<b>${escape(c.name)}</b>` : escape(c.name)}</span>
      ${cell("seen", c.seen === null ? "?" : ndcg(c.seen))}${cell("new", c.new === null ? "?" : ndcg(c.new))}${cell("a month", `<b>${usd(c.usd_per_month)}</b>`)}
      ${cell("per million", usd(c.usd_per_million))}${cell("per refresh", usd(c.usd_per_refresh))}${cell("latency", time(c.request_s))}
      ${c.problem ? `<span class="why">${c.problem}</span>` : ""}</summary>${inputs(c)}</details>`);
    $("table").innerHTML = `<div class="ways"><div class="head" aria-hidden="true">${head.map((h) => `<span>${h}</span>`).join("")}</div>${rows.join("")}</div>`;
  }

  function light(event) {
    const way = event.target.closest?.("[data-way]")?.dataset.way;
    document.querySelectorAll("svg .point").forEach((p) => p.classList.toggle("lit", p.dataset.way === way && event.type !== "mouseleave"));
  }

  // ---- all of it

  function show() {
    const choices = model.decide(state, assumed(), state.protocol);
    const best = model.cheapest(choices, state.seen, state.new);
    document.body.dataset.best = best?.name ?? "";
    setKnobs();
    if ($("protocol")) $("protocol").value = state.protocol;
    $("about").textContent = T.scenarios[state.scenario].about;
    verdict(choices, best);
    chart(choices, best);
    pays(choices);
    table(choices, best);
    history.replaceState(null, "", address());
  }

  function begin() {
    read();
    const names = Object.fromEntries(Object.keys(T.scenarios).map((n) => [n, n.replace("-", " ").replace(/^./, (c) => c.toUpperCase())]));
    const start = (name) => { state = { ...scenarioState(name), protocol: state.protocol }; show(); };
    segments($("scenarios"), "scenario", names, state.scenario, start);
    segments($("regime"), "regime", { seen: "Items with interactions", new: "New items" }, look.regime, (v) => { look.regime = v; show(); });
    segments($("axis"), "axis", { usd_per_month: "a month", usd_per_million: "per million", request_s: "latency", joules_per_month: "energy" }, look.axis, (v) => { look.axis = v; show(); });
    show();
  }

  for (const [box, knobs] of [["traffic", TRAFFIC], ["targets", TARGETS], ["assumptions", ASSUMED]]) knobs.forEach((k) => $(box).append(knob(k)));
  if (Object.keys(T.quality).length > 1) {
    const label = document.createElement("label"), choose = document.createElement("select");
    choose.innerHTML = Object.keys(T.quality).map((p) => `<option>${escape(p)}</option>`).join("");
    choose.id = "protocol";
    choose.onchange = () => { state.protocol = choose.value; show(); };
    label.append("Quality measured on ", choose);
    $("targets").append(label);
  }
  $("reset").onclick = () => { state = { ...scenarioState(state.scenario), protocol: state.protocol }; show(); };
  $("share").onclick = async () => {
    try { await navigator.clipboard.writeText(location.href); $("share").textContent = "Copied"; }
    catch { $("share").textContent = "Copy it from the address bar"; }
    setTimeout(() => { $("share").textContent = "Copy a link to this"; }, 2500);
  };
  $("table").addEventListener("toggle", (e) => { e.target.open ? opened.add(e.target.dataset.way) : opened.delete(e.target.dataset.way); }, true);
  for (const type of ["mouseover", "focusin", "mouseleave"]) $("table").addEventListener(type, light);
  $("controls").onsubmit = (e) => e.preventDefault();
  $("notes").innerHTML = `<p>Quality is NDCG@10 as the studies of notebooks 04 and 05 recorded it (${Object.keys(T.quality).map(escape).join(", ")}): on items with interactions, the whole catalogue ranked; among items without any, those ranked among themselves. The two are never added up. What was not measured is shown as not measured.</p>
    <p>Times are roofline bounds of the data sheets, divided by the share of the bound that such work was measured to reach: ${Object.entries(T.shares).map(([k, v]) => `${k} ${percent(v)}`).join(", ")}. Work without a measured share is a bound: real machines are slower, and the slider “share of the hardware's limit” says by how much.</p>
    <p>A request brings a history of ${T.assumptions.history} items and takes one core ${time(T.assumptions.handling_s)} whatever recommends. The reranker is shown ${T.assumptions.shown} items of the history and ${T.assumptions.candidates} candidates and writes ${T.assumptions.answer_tokens} tokens. Vectors take one byte a value. Disks, traffic on the network and people are not in any price.</p>`;
  addEventListener("hashchange", begin);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; show(); } });
  begin();
})();
