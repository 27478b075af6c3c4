// What the page shows and how it is changed; every number comes from model.js.
(() => {
  "use strict";
  const T = TABLES, model = Model(T), $ = (id) => document.getElementById(id);
  const KINDS = { collaborative: "interactions only", text: "text only", both: "interactions and text", rerank: "a model reranks" };
  const COLOURS = { collaborative: "var(--collaborative)", text: "var(--text)", both: "var(--both)", rerank: "var(--rerank)" };
  const MAP_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#8A8A8A"];
  const AXES = {
    usd_per_month: ["dollars a month", usd], usd_per_million: ["dollars per million lists", usd], p99_s: ["99th percentile of the latency", time],
  };
  // [name, label, lowest, highest, logarithmic, what it means]
  const TRAFFIC = [
    ["requests_per_s", "Lists a second, at the peak", 0.1, 1e5, true],
    ["items", "Items in the catalogue", 100, 1e8, true],
    ["users", "Users", 100, 1e9, true],
    ["new_items_per_day", "New items a day", 0.1, 1e8, true],
    ["cold_requests", "Fraction of requests for items without interactions", 0, 1, false],
    ["latency_limit_s", "Latency limit in seconds (99th percentile)", 0.001, 100, true],
    ["text_tokens", "Tokens in an item's text", 16, 512, true, `one of ${T.text_lengths.join(", ")}`],
    ["refits_per_month", "Refits a month", 0, 60, false],
    ["mean_to_peak", "Mean rate over the peak", 0.05, 1, false],
  ];
  const WORTH = [["usd_per_point", "Dollars that 0.01 NDCG@10 is worth per million lists", 0, 1e5, true]];
  const ASSUMED = [
    ["cpu_price", "Price of processors, times the list", 0.1, 4, true],
    ["gpu_price", "Price of GPUs, times the list", 0.1, 4, true],
    ["max_load", "Load of a machine at the peak, at most", 0.1, 0.9, false],
    ["unmeasured_fraction", "Fraction of the roofline that unmeasured work reaches", 0.05, 1, false, "1 is the data sheet's bound: nothing is faster"],
  ];
  const KNOBS = [...TRAFFIC, ...WORTH, ...ASSUMED];
  const WHOLE = ["items", "users"];
  const DEFAULTS = { cpu_price: 1, gpu_price: 1, max_load: T.assumptions.max_load, unmeasured_fraction: 1, usd_per_point: 10 };
  let state = {}, axis = "usd_per_month", opened = new Set(), rejected = [];

  // ---- numbers in words: two digits for what is modelled, three for what was given

  function sig(x, digits) { return Number(x.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: 15 }); }
  function usd(x) { return x === 0 ? "$0" : `$${sig(x, 2)}`; }
  function count(x) { return x >= 1e9 ? `${sig(x / 1e9, 3)} billion` : x >= 1e6 ? `${sig(x / 1e6, 3)} million` : sig(x, 3); }
  function time(x) { return x < 0.9995 ? `${sig(x * 1e3, 2)} ms` : `${sig(x, 2)} s`; }
  function bytes(x) { return x >= 1e12 ? `${sig(x / 1e12, 3)} TB` : x >= 1e9 ? `${sig(x / 1e9, 3)} GB` : `${sig(x / 1e6, 3)} MB`; }
  function ndcg(x) { return x === null ? "not measured" : x.toFixed(3); }
  function percent(x) { return `${sig(x * 100, 2)}%`; }
  const least = (c, text) => (c.basis === "bound" ? `≥ ${text}` : text);
  const escape = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

  // ---- the state, kept in the address

  const serviceState = (name) => {
    const { about, ...fields } = T.services[name];
    return { service: name, protocol: T.protocol, ...DEFAULTS, ...fields };
  };

  // The value if it is allowed, or null.
  function allowed(name, text) {
    const [, , low, high] = KNOBS.find(([knob]) => knob === name), value = Number(text);
    if (String(text).trim() === "" || !(value >= low && value <= high)) return null;
    if (name === "text_tokens" && !T.text_lengths.includes(value)) return null;
    return WHOLE.includes(name) ? Math.round(value) : value;
  }

  const expected = (name) => {
    const [, , low, high] = KNOBS.find(([knob]) => knob === name);
    return name === "text_tokens" ? `one of ${T.text_lengths.join(", ")}` : `a number from ${low} to ${high}`;
  };

  function read() {
    const given = new URLSearchParams(location.hash.slice(1)), first = Object.keys(T.services)[0];
    rejected = [];
    const refuse = (key, value, wanted) => rejected.push(`${key}=${value} (expected ${wanted})`);
    const name = given.get("service");
    if (name !== null && !T.services[name]) refuse("service", name, `one of ${Object.keys(T.services).join(", ")}`);
    state = serviceState(T.services[name] ? name : first);
    for (const [key, value] of given) {
      if (key === "service") continue;
      if (key === "axis" || key === "protocol") {
        const known = key === "axis" ? AXES : T.quality;
        if (!(value in known)) refuse(key, value, `one of ${Object.keys(known).join(", ")}`);
        else if (key === "axis") axis = value;
        else state.protocol = value;
      } else if (KNOBS.some(([knob]) => knob === key)) {
        const number = allowed(key, value);
        if (number === null) refuse(key, value, expected(key));
        else state[key] = number;
      } else if (location.hash.includes("=")) refuse(key, value, "a known name");
    }
  }

  function address() {
    const base = serviceState(state.service), given = new URLSearchParams({ service: state.service });
    for (const key in base) if (key !== "service" && state[key] !== base[key]) given.set(key, state[key]);
    if (axis !== "usd_per_month") given.set("axis", axis);
    return `#${given}`;
  }

  function assumed() {
    const { cpu_price, gpu_price, max_load, unmeasured_fraction } = state;
    return { ...T.assumptions, cpu_price, gpu_price, max_load, unmeasured_fraction, fractions: T.fractions };
  }

  // ---- controls: a number to type and a slider beside it

  function segments(box, name, choices, chosen, moved) {
    box.setAttribute("role", "radiogroup");
    box.innerHTML = Object.entries(choices).map(([value, label]) =>
      `<label><input type="radio" name="${name}" value="${escape(value)}"${value === chosen ? " checked" : ""}><span>${escape(label)}</span></label>`).join("");
    box.onchange = (event) => moved(event.target.value);
  }

  function knob([name, label, low, high, log, means]) {
    const place = document.createElement("div"), from = log ? Math.log10(low || high / 1e8) : low, to = log ? Math.log10(high) : high;
    place.className = "knob";
    place.innerHTML = `<label for="number-${name}">${label}</label><input type="text" inputmode="decimal" id="number-${name}">
      <input type="range" id="slider-${name}" min="${from}" max="${to}" step="0.01" aria-label="${label}, slider">
      <small id="note-${name}">${means ?? ""}</small>`;
    const note = place.querySelector("small"), typed = place.querySelector("input[type=text]");
    typed.addEventListener("change", () => {
      const value = allowed(name, typed.value.replace(/,/g, ""));
      typed.setAttribute("aria-invalid", value === null);
      note.textContent = value === null ? `${typed.value}: expected ${expected(name)}` : means ?? "";
      if (value !== null) { state[name] = value; show(); }
    });
    place.querySelector("input[type=range]").addEventListener("input", (event) => {
      let value = log ? Number((10 ** event.target.value).toPrecision(2)) : Number(Number(event.target.value).toFixed(2));
      if (name === "text_tokens") value = T.text_lengths.reduce((a, b) => (Math.abs(b - value) < Math.abs(a - value) ? b : a));
      state[name] = Math.min(high, Math.max(low, WHOLE.includes(name) ? Math.round(value) : value));
      show();
    });
    return place;
  }

  function setKnobs() {
    for (const [name, , low, high, log] of KNOBS) {
      const slider = $(`slider-${name}`), number = $(`number-${name}`), value = state[name];
      if (document.activeElement !== slider) slider.value = log ? Math.log10(Math.max(value, low || high / 1e8)) : value;
      if (document.activeElement !== number || number.getAttribute("aria-invalid") !== "true") {
        number.value = value.toLocaleString("en", { maximumSignificantDigits: 6 });
        number.setAttribute("aria-invalid", false);
        slider.setAttribute("aria-valuetext", number.value);
      }
    }
  }

  // ---- the answer in words

  const machines = (c) => c.stages.map((f) => `${count(f.machines)} × ${f.machine.name}`).join(" and ");

  function verdict(options, best) {
    const parts = [], blocked = options.filter((c) => c.problem);
    if (best) {
      const second = options.filter((c) => c.net !== null && c !== best).reduce((a, b) => (a === null || b.net > a.net ? b : a), null);
      parts.push(`<p class="big">${escape(best.name)}, at ${least(best, usd(best.usd_per_month))} a month, is the best option that was measured.</p>`);
      parts.push(`<p>It runs on ${machines(best)}, answers within ${time(best.p99_s)} (99th percentile), costs ${least(best, usd(best.usd_per_million))} per million lists,
        and ranks at NDCG@10 ${ndcg(best.quality)} over all requests.</p>`);
      if (second) parts.push(`<p>Second is ${escape(second.name)} at ${least(second, usd(second.usd_per_month))}: worth ${usd(Math.max(0, best.net - second.net))} a month less to you.</p>`);
      if (best.encoder) {
        const once = state.items * best.usd_per_item;
        parts.push(`<p>Encoding the whole catalogue once costs ${usd(once)}, new items ${usd(best.bill.encoding)} a month.</p>`);
      }
    } else {
      const measured = options.filter((c) => c.quality !== null), closest = measured.length ? measured.reduce((a, b) => (b.p99_s < a.p99_s ? b : a)) : null;
      parts.push('<p class="big">No option that was measured can serve this.</p>');
      parts.push(closest ? `<p>The closest is ${escape(closest.name)}. What stops it: ${escape(closest.problem)}. It could serve with ${escape(closest.nearest)}.</p>`
        : "<p>No quality was measured for requests of this kind.</p>");
    }
    if (best && blocked.length) parts.push(`<p class="soft">${blocked.length} option${blocked.length > 1 ? "s" : ""} cannot serve this; the table says what stops each and the nearest change that would lift it.</p>`);
    $("verdict").innerHTML = parts.join("");
  }

  // ---- the map: fraction of cold requests against what quality is worth

  function map(options) {
    const W = 640, H = 300, LEFT = 66, BOTTOM = 46, columns = 31, rows = 25, cells = [], seen = [];
    const share = (i) => 10 ** (-3 + (3 * i) / (columns - 1)), worth = (j) => 10 ** (-3 + (7 * j) / (rows - 1));
    const w = (W - LEFT - 8) / columns, h = (H - BOTTOM - 8) / rows;
    for (let j = 0; j < rows; j++)
      for (let i = 0; i < columns; i++) {
        const name = model.bestAt(options, state, share(i), worth(j));
        if (name && !seen.includes(name)) seen.push(name);
        const fill = name ? MAP_COLOURS[seen.indexOf(name) % MAP_COLOURS.length] : "none";
        cells.push(`<rect x="${LEFT + i * w}" y="${H - BOTTOM - (j + 1) * h}" width="${w + 0.4}" height="${h + 0.4}" fill="${fill}"><title>${escape(name ?? "none can serve")}: ${percent(share(i))} cold, ${usd(worth(j))}</title></rect>`);
      }
    const X = (v) => LEFT + ((Math.log10(Math.min(1, Math.max(1e-3, v))) + 3) / 3) * (W - LEFT - 8);
    const Y = (v) => H - BOTTOM - ((Math.log10(Math.min(1e4, Math.max(1e-3, v))) + 3) / 7) * (H - BOTTOM - 8);
    const out = [`<svg viewBox="0 0 ${W} ${H}" role="img" aria-label="The best option by the fraction of requests for cold items and by what 0.01 NDCG@10 is worth">`, ...cells];
    for (const v of [1e-3, 1e-2, 1e-1, 1]) out.push(`<text class="tick" x="${X(v)}" y="${H - BOTTOM + 16}" text-anchor="middle">${percent(v)}</text>`);
    for (const v of [1e-2, 1, 100, 1e4]) out.push(`<text class="tick" x="${LEFT - 6}" y="${Y(v) + 4}" text-anchor="end">${usd(v)}</text>`);
    out.push(`<text class="tick" x="${(W + LEFT) / 2}" y="${H - 8}" text-anchor="middle">fraction of requests for cold items</text>
      <text class="tick" transform="translate(12 ${(H - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">0.01 NDCG per million lists</text>
      <circle cx="${X(state.cold_requests)}" cy="${Y(state.usd_per_point)}" r="6" fill="none" stroke="#fff" stroke-width="5"/>
      <circle cx="${X(state.cold_requests)}" cy="${Y(state.usd_per_point)}" r="6" fill="none" stroke="#000" stroke-width="2"/></svg>`);
    $("map").innerHTML = out.join("");
    $("map-legend").innerHTML = seen.map((name, i) => `<li><span class="swatch" style="background:${MAP_COLOURS[i % MAP_COLOURS.length]}"></span>${escape(name)}</li>`).join("") + "<li>ring: you are here</li>";
  }

  // ---- the chart

  function shape(kind, x, y, r, more) {
    const dots = {
      collaborative: `<circle cx="${x}" cy="${y}" r="${r}"`, text: `<rect x="${x - r}" y="${y - r}" width="${2 * r}" height="${2 * r}"`,
      both: `<path d="M${x} ${y - r * 1.3}L${x + r * 1.3} ${y}L${x} ${y + r * 1.3}L${x - r * 1.3} ${y}Z"`,
      rerank: `<path d="M${x} ${y - r * 1.2}L${x + r * 1.2} ${y + r}L${x - r * 1.2} ${y + r}Z"`,
    };
    return `${dots[kind]} ${more}`;
  }

  // Names beside their points, from the top down; one that would lie on another or on a point moves down and
  // gets a line to its own.
  function names(front, points, W) {
    const LINE = 15, taken = points.map(({ x, y }) => [x - 7, y - 7, x + 7, y + 7]), out = [];
    for (const { name, x, y } of [...front].reverse()) {
      const width = 6.6 * name.length, left = Math.min(x + 13, W - width - 4);
      const box = (base) => [left, base - 11, left + width, base + 3];
      const free = (b) => taken.every((t) => b[2] < t[0] || b[0] > t[2] || b[3] < t[1] || b[1] > t[3]);
      let base = y - 9;
      while (!free(box(base)) && base < 300) base += LINE / 3;
      taken.push(box(base));
      if (base > y + LINE) out.push(`<line class="lead" x1="${x}" y1="${y}" x2="${left - 2}" y2="${base - 4}"/>`);
      out.push(`<text class="name" x="${left}" y="${base}">${escape(name)}</text>`);
    }
    return out;
  }

  function chart(options, best) {
    const [label, written] = AXES[axis], W = Math.max(340, Math.min(760, $("chart").clientWidth || 760));
    const H = 400, LEFT = 56, RIGHT = 16, TOP = 20, FLOOR = 320, UNKNOWN = 350;
    const values = options.map((c) => c[axis]), low = Math.min(...values) / 1.4, high = Math.max(...values) * 1.4;
    const tallest = Math.max(0.1, ...options.map((c) => c.quality ?? 0)) * 1.12;
    const X = (v) => LEFT + ((Math.log(v) - Math.log(low)) / (Math.log(high) - Math.log(low))) * (W - LEFT - RIGHT);
    const Y = (v) => (v === null ? UNKNOWN : FLOOR - (v / tallest) * (FLOOR - TOP));
    const out = [`<svg viewBox="0 0 ${W} ${H}" role="img" aria-label="NDCG@10 over all requests against ${label}; the table below holds the numbers">`];
    for (let v = 0; v <= tallest; v += 0.1)
      out.push(`<line class="grid" x1="${LEFT}" x2="${W - RIGHT}" y1="${Y(v)}" y2="${Y(v)}"/><text class="tick" x="${LEFT - 8}" y="${Y(v) + 4}" text-anchor="end">${v.toFixed(1)}</text>`);
    let last = -Infinity;
    const wide = Math.log10(high / low) > 1.5;
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
      for (const m of wide ? [1] : [1, 2, 5]) {
        const v = m * 10 ** e;
        if (v < low || v > high || X(v) - last < 70) continue;
        last = X(v);
        out.push(`<line class="grid" x1="${X(v)}" x2="${X(v)}" y1="${TOP}" y2="${UNKNOWN + 12}"/><text class="tick" x="${X(v)}" y="${UNKNOWN + 26}" text-anchor="middle">${written(v)}</text>`);
      }
    out.push(`<text class="tick" x="${LEFT}" y="${TOP - 6}">NDCG@10 over all requests</text><text class="tick" x="${LEFT + 4}" y="${UNKNOWN - 12}">quality not measured:</text>
      <text class="tick" x="${(W + LEFT) / 2}" y="${H - 4}" text-anchor="middle">${label}, logarithmic</text>`);
    const able = options.filter((c) => !c.problem && c.quality !== null).sort((a, b) => a[axis] - b[axis] || b.quality - a.quality), front = [];
    for (const c of able) if (!front.length || c.quality > front.at(-1).quality) front.push(c);
    if (front.length) out.push(`<path class="front" d="${front.map((c, i) => (i ? `H${X(c[axis])}V${Y(c.quality)}` : `M${X(c[axis])} ${Y(c.quality)}`)).join("")}H${W - RIGHT}"/>`);
    // What cannot serve is a hollow mark, so that marks that lie together never look like one that can.
    const points = options.map((c) => ({ c, x: X(c[axis]), y: Y(c.quality), rank: c === best ? 0 : front.includes(c) ? 1 : c.problem ? 3 : 2 })).sort((a, b) => b.rank - a.rank);
    for (const { c, x, y } of points)
      out.push(shape(c.kind, x, y, c === best ? 8 : 6, `class="point${c.problem ? " off" : ""}" style="${c.problem ? `stroke:${COLOURS[c.kind]}` : `fill:${COLOURS[c.kind]}`}"><title>${escape(`${c.name}: ${ndcg(c.quality)}, ${least(c, written(c[axis]))}${c.problem ? ` (${c.problem})` : ""}`)}</title></${{ collaborative: "circle", text: "rect" }[c.kind] ?? "path"}>`));
    out.push(...names(front.map((c) => ({ name: c.name, x: X(c[axis]), y: Y(c.quality) })), points, W));
    $("chart").innerHTML = `${out.join("")}</svg>`;
    $("legend").innerHTML = Object.entries(KINDS).map(([kind, words]) => `<li><svg viewBox="0 0 14 14" aria-hidden="true">${shape(kind, 7, 7, 4.5, `style="fill:${COLOURS[kind]}"/>`)}</svg>${words}</li>`).join("")
      + "<li>hollow: cannot serve this traffic</li><li>dashed: nothing is both cheaper and better</li>";
  }

  // ---- the table

  function inputs(c) {
    const rows = [], prices = assumed();
    c.stages.forEach((f, i) => {
      const m = f.machine;
      rows.push([i ? "reranking" : "serving", `${count(f.machines)} × ${m.about} × ${usd(model.price(m, prices))} an hour × ${T.units.month_h} hours = ${usd(f.usd)}`]);
      rows.push(["price", `${m.offer}, read ${m.date}`]);
      rows.push(["why so many", `${f.groups} group${f.groups > 1 ? "s" : ""} for the rate (load ${percent(f.load)} at the peak, batches of up to ${f.batch}) × ${f.shards} for the memory`]);
    });
    if (c.encoder) rows.push(["encoding", `${sig(c.item_s * 1e3, 2)} ms an item on ${c.encoder.name}; new items ${usd(c.bill.encoding)} a month`]);
    if (c.option.fits.length) rows.push(["refits", `${sig(c.refit_s / 3600, 2)} machine-hours on ${c.shared} × ${c.fitter.name}, ${usd(c.bill.refits)} a month`]);
    if (c.option.nightly) rows.push(["lists made nightly", `${usd(c.bill.nightly)} a month for ${count(state.users)} users`]);
    rows.push(["times are", c.basis === "bound" ? "at least in part lower bounds: so is the price" : "modelled: the roofline over the fraction of it that was measured"]);
    rows.push(["energy", `${sig(c.joules_per_month / 3.6e6, 2)} kWh a month of the machines held, by the power model`]);
    return `<dl>${rows.map(([k, v]) => `<dt>${k}</dt><dd>${escape(v)}</dd>`).join("")}</dl>`;
  }

  function table(options, best) {
    const head = ["option", "warm", "cold", "a month", "per million", "p99"];
    const order = (c) => (c.net !== null ? -c.net : Infinity);
    const sorted = [...options].sort((a, b) => (order(a) === order(b) ? a.usd_per_month - b.usd_per_month : order(a) - order(b)));
    const cell = (label, text) => `<span data-label="${label}">${text}</span>`;
    const rows = sorted.map((c) => `<details data-option="${escape(c.name)}" data-usd-per-month="${c.usd_per_month}" data-usd-per-million="${c.usd_per_million}"
        data-p99-s="${c.p99_s}" data-joules-per-month="${c.joules_per_month}" data-net="${c.net ?? ""}" data-problem="${escape(c.problem)}"
        class="${c === best ? "best" : ""}"${opened.has(c.name) ? " open" : ""}><summary>
      <span data-name><span class="swatch" style="background:${COLOURS[c.kind]}"></span>${c === best ? `<b>${escape(c.name)}</b>` : escape(c.name)}</span>
      ${cell("warm", ndcg(c.warm))}${cell("cold", ndcg(c.cold))}${cell("a month", `<b>${least(c, usd(c.usd_per_month))}</b>`)}
      ${cell("per million", least(c, usd(c.usd_per_million)))}${cell("p99", time(c.p99_s))}
      ${c.problem ? `<span class="why">${escape(c.problem)}; it needs ${escape(c.nearest)}</span>` : ""}</summary>${inputs(c)}</details>`);
    $("table").innerHTML = `<div class="options"><div class="head" aria-hidden="true">${head.map((h) => `<span>${h}</span>`).join("")}</div>${rows.join("")}</div>`;
  }

  // ---- all of it

  function show() {
    const { options, best } = model.decide(state, assumed(), state.protocol, state.usd_per_point);
    document.body.dataset.best = best?.name ?? "";
    setKnobs();
    if ($("protocol")) $("protocol").value = state.protocol;
    $("about").textContent = T.services[state.service].about;
    $("rejected").hidden = !rejected.length;
    $("rejected").textContent = rejected.length ? `Left out of the link: ${rejected.join("; ")}. The example's values stand instead.` : "";
    verdict(options, best);
    map(options);
    chart(options, best);
    table(options, best);
    history.replaceState(null, "", address());
  }

  function begin() {
    read();
    const names = Object.fromEntries(Object.keys(T.services).map((n) => [n, n.replace("-", " ").replace(/^./, (c) => c.toUpperCase())]));
    segments($("services"), "service", names, state.service, (name) => { rejected = []; state = { ...serviceState(name), protocol: state.protocol }; show(); });
    segments($("axis"), "axis", { usd_per_month: "a month", usd_per_million: "per million lists", p99_s: "latency" }, axis, (v) => { axis = v; show(); });
    show();
  }

  for (const [box, knobs] of [["traffic", TRAFFIC], ["worth", WORTH], ["assumptions", ASSUMED]]) knobs.forEach((k) => $(box).append(knob(k)));
  if (Object.keys(T.quality).length > 1) {
    const label = document.createElement("label"), choose = document.createElement("select");
    choose.innerHTML = Object.keys(T.quality).map((p) => `<option>${escape(p)}</option>`).join("");
    choose.id = "protocol";
    choose.onchange = () => { state.protocol = choose.value; show(); };
    label.append("Quality measured on ", choose);
    $("worth").append(label);
  }
  $("reset").onclick = () => { rejected = []; state = { ...serviceState(state.service), protocol: state.protocol }; show(); };
  $("copy-link").onclick = async () => {
    try { await navigator.clipboard.writeText(location.href); $("copy-link").textContent = "Copied"; }
    catch { $("copy-link").textContent = "Copy it from the address bar"; }
    setTimeout(() => { $("copy-link").textContent = "Copy a link to this"; }, 2500);
  };
  $("table").addEventListener("toggle", (e) => { e.target.open ? opened.add(e.target.dataset.option) : opened.delete(e.target.dataset.option); }, true);
  $("controls").onsubmit = (e) => e.preventDefault();
  $("notes").innerHTML = `<p>Quality is NDCG@10 as recorded on ${Object.keys(T.quality).map(escape).join(" and ")}: on held-out interactions with warm items, and on items without any interaction. What was not measured is said so and is never the best. Over all requests the two are weighed by the fraction of requests for cold items.</p>
    <p>Times are the roofline bounds of the data sheets over the fraction of the bound that such work was measured to reach: ${Object.entries(T.fractions).map(([k, v]) => `${k} ${percent(v)}`).join(", ")}. The latency is the 99th percentile with waiting, by a simulated queue.</p>
    <p>A request brings a history of ${T.assumptions.history} items and takes one core ${time(T.assumptions.handling_s)} whatever recommends. A reranker is shown ${T.assumptions.shown} items of the history and ${T.assumptions.candidates} candidates. Disks, network traffic, spare machines and people are in no price.</p>`;
  addEventListener("hashchange", begin);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; show(); } });
  begin();
})();
