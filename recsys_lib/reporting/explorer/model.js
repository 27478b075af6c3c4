// The cost model of recsys_lib/cost (deployments.py, prices.py, decision.py) in the same order of operations, so that every number
// agrees with Python's to the last digit (tests/test_explorer.py). T is decision.tables().
"use strict";

const Model = (T) => {
  const perHour = 1 / T.units.hour_s;
  const perMonth = 1 / (T.units.hour_s * T.units.month_h);
  const monthSeconds = T.units.hour_s * T.units.month_h;

  // ---- works: [operations, bytes, precision]

  const bound = ([operations, bytes, precision], machine) =>
    Math.max(operations / machine.peaks[precision], bytes / machine.bandwidth);

  const family = (machine) => (machine.kind === "cpu" ? machine.name.split("-")[0] : machine.kind);

  const seconds = (work, kind, machine, a) => bound(work, machine) / (a.shares[`${kind} on ${family(machine)}`] ?? 1);

  const knows = (kind, machine, a) => `${kind} on ${family(machine)}` in a.shares;

  const price = (machine, a) => {
    const factor = machine.kind === "cpu" ? a.cpu_price : a.gpu_price;
    return factor === 1 ? machine.usd_per_hour : machine.usd_per_hour * factor;
  };

  function requestWorks(way, items, a) {
    const found = {};
    if (way.serves.includes("neighbours")) {
      const entries = a.history * a.neighbours;
      found["neighbours"] = [entries, 8 * entries, "float32"];
    }
    if (way.serves.includes("ease")) found["ease"] = [a.history * items, 4 * (a.history * items), "float32"];
    if (way.serves.includes("scan")) found["scan"] = [2 * (items * way.dimensions), items * way.dimensions, "int8"];
    return found;
  }

  function refitWork(way, users, items, a) {
    const pairs = way.serves.length && way.kind !== "text" ? users * a.history * a.history : 0;
    const cube = way.serves.includes("ease") ? items * items * items : 0;
    return [2 * pairs + cube, 4 * pairs, "float32"];
  }

  function itemSeconds(way, machine, tokens, a) {
    let total = 0;
    for (const reader of way.readers)
      total += seconds(T.encode[reader][tokens], "encode", machine, a) / a.encode_batch;
    return total;
  }

  function bytesPerItem(way, items, a) {
    let total = way.dimensions;
    if (way.serves.includes("neighbours")) total += 8 * a.neighbours;
    if (way.serves.includes("ease")) total += 8 * items;
    return total;
  }

  // ---- a way on machines

  const least = (rows, key) => rows.reduce((best, row) => (key(row) < key(best) ? row : best));

  const measured = (machines, kind, a) => {
    const known = machines.filter((m) => knows(kind, m, a));
    return known.length ? known : machines;
  };

  function options(way, tokens, a) {
    const servers = measured(T.machines.filter((m) => m.kind === "cpu"), "scan", a);
    let batch = null;
    if (way.readers.length) {
      const light = way.readers.every((r) => T.static_readers.includes(r));
      batch = least(measured(light ? servers : T.machines, "encode", a), (m) => itemSeconds(way, m, tokens, a) * price(m, a));
    }
    if (!way.reranker) return servers.map((machine) => ({ way, machine, batch }));
    const found = [];
    for (const machine of servers)
      for (const card of T.machines.filter((m) => m.kind === "gpu"))
        for (const size of T.rerank_batches) found.push({ way, machine, batch, card, size });
    return found;
  }

  function stacks(option, s, a) {
    const { way, machine, batch, card, size } = option;
    const works = requestWorks(way, s.items, a);
    let work_s = 0;
    for (const kind in works) work_s += seconds(works[kind], kind, machine, a);
    const known = Object.keys(works).map((kind) => knows(kind, machine, a)).concat(batch ? [knows("encode", batch, a)] : []);
    const serving = {
      name: way.name, machine, batch: batch ?? machine,
      request_s: a.handling_s + work_s,
      requests_per_s: 1 / (a.handling_s / machine.cores + work_s),
      item_s: batch ? itemSeconds(way, batch, s.text_tokens, a) : 0,
      refit_s: seconds(refitWork(way, s.users, s.items, a), "ease fit", machine, a),
      memory_bytes: 0, bytes_per_item: bytesPerItem(way, s.items, a),
      basis: known.length && known.every(Boolean) ? "model" : "bound",
    };
    if (!card) return [serving];
    const [read, write, held] = T.rerank[s.text_tokens][size];
    let batch_s = seconds(read, "prefill", card, a);
    batch_s += a.answer_tokens * seconds(write, "decode", card, a);
    const reranking = {
      name: `${way.reranker}, ${size} at once`, machine: card, batch: card, request_s: batch_s, requests_per_s: size / batch_s,
      item_s: 0, refit_s: 0, memory_bytes: held, bytes_per_item: 0,
      basis: knows("prefill", card, a) && knows("decode", card, a) ? "model" : "bound",
    };
    return [serving, reranking];
  }

  // ---- money and energy

  function held(stack, s, a) {
    const replicas = Math.ceil(s.requests_per_s / (stack.requests_per_s * a.utilization));
    const needs = stack.memory_bytes + stack.bytes_per_item * s.items;
    return replicas * Math.max(1, Math.ceil(needs / (stack.machine.memory_bytes * T.usable)));
  }

  const paid = (machine, work_s, utilization, a) => (price(machine, a) * perHour * work_s) / utilization;

  function refresh(stack, s, a) {
    const encode = paid(stack.batch, s.items * stack.item_s, 1, a);
    return encode + paid(stack.machine, stack.refit_s, 1, a);
  }

  function month(stack, s, a) {
    const machines = held(stack, s, a);
    const serving = machines * ((price(stack.machine, a) * perHour) / perMonth);
    const refreshes = refresh(stack, s, a) * s.refreshes_per_month;
    const fresh = paid(stack.batch, s.new_items_per_day * T.units.month_days * stack.item_s, 1, a);
    return { machines, serving, refreshes, fresh, usd: serving + refreshes + fresh };
  }

  const spent = (machine, work_s, utilization) =>
    machine.watts * (T.idle_share + (1 - T.idle_share) * utilization) * (work_s / utilization);

  function joules(stack, s, a) {
    const serving_s = held(stack, s, a) * monthSeconds * a.utilization;
    const items = s.refreshes_per_month * s.items + s.new_items_per_day * T.units.month_days;
    const encode = spent(stack.batch, items * stack.item_s, 1);
    const refit = spent(stack.machine, s.refreshes_per_month * stack.refit_s, 1);
    return spent(stack.machine, serving_s, a.utilization) + (encode + refit);
  }

  // ---- the decision

  const g3 = (x) => String(Number(x.toPrecision(3)));

  function problem(found, s) {
    const request_s = found.reduce((sum, k) => sum + k.request_s, 0);
    if (request_s > s.latency_limit_s) return `answers in ${g3(request_s)} s, limit ${g3(s.latency_limit_s)} s`;
    const between = s.refreshes_per_month ? monthSeconds / s.refreshes_per_month : Infinity;
    if (found[0].refit_s > between)
      return `takes ${g3(found[0].refit_s / 86400)} days to fit, refreshed every ${g3(between / 86400)}`;
    return "";
  }

  function house(way, s, a, protocol) {
    const quiet = { ...s, new_items_per_day: 0, refreshes_per_month: 0 };
    let best = null;
    for (const option of options(way, s.text_tokens, a)) {
      const found = stacks(option, s, a);
      const why = problem(found, s);
      const request_s = found.reduce((sum, k) => sum + k.request_s, 0);
      const bills = found.map((k, i) => month(k, i ? quiet : s, a));
      const usd = bills.reduce((sum, b) => sum + b.usd, 0);
      const better = !best || (best.problem && !why) ||
        (!best.problem === !why && (why ? request_s < best.request_s
          : usd < best.usd_per_month || (usd === best.usd_per_month && request_s < best.request_s)));
      if (better) best = { way, stacks: found, bills, usd_per_month: usd, request_s, problem: why };
    }
    const [seen, fresh] = T.quality[protocol][way.name];
    const first = best.stacks[0];
    return {
      ...best, name: way.name, kind: way.kind, seen, new: fresh,
      joules_per_month: best.stacks.reduce((sum, k, i) => sum + joules(k, i ? quiet : s, a), 0),
      usd_per_million: best.stacks.reduce((sum, k) => sum + paid(k.machine, 1e6 * (1 / k.requests_per_s), a.utilization, a), 0),
      usd_per_refresh: refresh(first, s, a),
      usd_per_item: paid(first.batch, first.item_s, 1, a),
    };
  }

  const reaches = (quality, target) => target <= 0 || (quality !== null && quality >= target);

  function cheapest(choices, seen, fresh) {
    let best = null;
    const good = (c) => -(c.seen || 0) - (c.new || 0);
    for (const c of choices) {
      if (c.problem || !reaches(c.seen, seen) || !reaches(c.new, fresh)) continue;
      if (!best || c.usd_per_month < best.usd_per_month || (c.usd_per_month === best.usd_per_month && good(c) < good(best)))
        best = c;
    }
    return best;
  }

  // New items a day above which a way that reads pays, against one that does not; null where a quality is unknown.
  function breakEven(reader, base, usdPerNewItem) {
    if (reader.new === null || base.new === null) return null;
    const extra = reader.usd_per_month - reader.bills[0].fresh - (base.usd_per_month - base.bills[0].fresh);
    const margin = (Math.max(0, reader.new - base.new) * usdPerNewItem - reader.usd_per_item) * T.units.month_days;
    return margin > 0 ? Math.max(0, extra) / margin : Infinity;
  }

  const decide = (s, a, protocol) => T.ways.map((way) => house(way, s, a, protocol));

  return { decide, cheapest, breakEven, monthSeconds };
};

if (typeof module !== "undefined") module.exports = Model;
