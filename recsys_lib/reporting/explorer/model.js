// The cost model of recsys_lib/cost (workloads, fleet, deployments, turning_points) in the same order of operations, so that every
// number agrees with Python's to the last digit (tests/reporting/test_explorer.py). T is cost.explorer_tables.tables().
"use strict";

const Model = (T) => {
  const { hour_s, month_s, month_h, month_days } = T.units;
  const TEXT_PER_REQUEST = T.patterns[1];

  // ---- workloads: [kind, operations, request bytes, batch bytes, precision, batch bytes in 16 bits, repeats]

  function bound([, operations, requestBytes, batchBytes, precision, batchBytes16, repeats], machine, batch) {
    const fixed = precision === "compact" && !machine.has_8_bits ? batchBytes16 : batchBytes;
    const bytes = fixed + batch * requestBytes;
    return repeats * Math.max((batch * operations) / machine.peaks[precision], bytes / machine.bandwidth);
  }

  const key = (work, machine) => `${work[0]} on ${machine.family}`;
  const knows = (work, machine, a) => key(work, machine) in a.fractions;
  const seconds = (work, machine, batch, a) =>
    bound(work, machine, batch) / (a.fractions[key(work, machine)] ?? a.unmeasured_fraction);

  function whereKnown(machines, works, a) {
    const found = machines.filter((m) => works.every((work) => knows(work, m, a)));
    return found.length ? found : machines;
  }

  const price = (machine, a) => machine.usd_per_hour * (machine.kind === "cpu" ? a.cpu_price : a.gpu_price);
  const coldItems = (s) => {
    const between = s.refits_per_month ? month_days / s.refits_per_month : 0;
    return Math.min(s.items, s.new_items_per_day * Math.max(s.cold_days, between));
  };
  const coldShare = (s) => s.cold_requests ?? coldItems(s) / s.items;
  const listsPerMonth = (s) => s.requests_per_s * s.mean_to_peak * month_s;

  function requestWorkloads(option, items, cold, a) {
    const found = [];
    if (option.serves.includes("lookup")) {
      const entries = a.history * a.entries_kept;
      found.push(["lookup", 2 * entries, 8 * entries, 0, "float32", 0, 1]);
    }
    if (option.serves.includes("dense rows"))
      found.push(["dense rows", a.history * items, T.dense_bytes * (a.history * items), 0, "float32", 0, 1]);
    if (option.serves.includes("scan") || option.serves.includes("scan cold items")) {
      const values = (option.serves.includes("scan") ? items : cold) * option.dimensions;
      found.push(["scan", 2 * values, 0, values, "int8", 0, 1]);
    }
    return found;
  }

  function refitWorkload(option, users, items, a) {
    const pairs = option.fits.length ? users * a.history * a.history : 0;
    const cubes = (option.fits.includes("ease") ? 1 : 0) + (option.fits.includes("map") ? 7 / 3 : 0);
    return ["fit", 2 * pairs + cubes * (items * items * items), 4 * pairs, 0, "float32", 0, 1];
  }

  function servingWorkloads(option, s, a) {
    const works = requestWorkloads(option, s.items, coldItems(s), a);
    if (option.pattern === TEXT_PER_REQUEST) for (const name of option.encoders) works.push(T.encode[name][s.text_tokens]);
    return works;
  }

  function stateBytes(option, items, cold, a) {
    let total = 0;
    if (option.serves.includes("lookup")) total += 8 * a.entries_kept * items;
    if (option.serves.includes("dense rows")) total += T.dense_bytes * (items * items);
    if (option.serves.includes("scan")) total += option.dimensions * items;
    if (option.serves.includes("scan cold items")) total += option.dimensions * cold;
    return total;
  }

  // ---- the queue and the fleet

  function place(grid, value) {
    let i = 0;
    while (i < grid.length - 2 && value > grid[i + 1]) i += 1;
    return [i, (value - grid[i]) / (grid[i + 1] - grid[i])];
  }

  const between = (row, [i, part]) => row[i] + (row[i + 1] - row[i]) * part;

  function p99Factor(batch, fixed, load) {
    const rows = T.queue.p99[batch], column = place(T.queue.loads, load);
    const [i, part] = place(T.queue.fixed, Math.min(Math.max(fixed, 0), 1));
    const upper = between(rows[i], column), lower = between(rows[i + 1], column);
    return upper + (lower - upper) * part;
  }

  const shardsFor = (bytes, machine) => Math.max(1, Math.ceil(bytes / (machine.memory_bytes * T.usable)));

  function batchSeconds(works, machine, batch, shards, handling_s, a) {
    let work_s = 0;
    for (const work of works) work_s += seconds(work, machine, batch, a);
    return (handling_s * batch) / machine.cores + work_s / shards;
  }

  function fleet(works, machine, batch, load, rate, bytes, a, handling_s) {
    const shards = shardsFor(bytes, machine);
    const batch_s = batchSeconds(works, machine, batch, shards, handling_s, a);
    const single_s = batchSeconds(works, machine, 1, shards, handling_s, a);
    const groups = Math.ceil(rate / ((batch / batch_s / shards) * shards * load)), machines = groups * shards;
    const reached = rate / (groups * (batch / batch_s));
    const fixed = batch === 1 ? 0 : (single_s / batch_s - 1 / batch) / (1 - 1 / batch);
    const p99_s = handling_s + batch_s * p99Factor(batch, fixed, reached);
    const usd = machines * (price(machine, a) * month_h);
    const basis = works.every((work) => knows(work, machine, a)) ? "model" : "bound";
    return { machine, batch, shards, groups, machines, batch_s, single_s, load: reached, p99_s, usd, basis };
  }

  function front(fleets) {
    const kept = [], sorted = fleets.map((f, i) => [f, i]);
    sorted.sort(([f, i], [g, j]) => f.usd - g.usd || f.p99_s - g.p99_s || i - j);
    for (const [f] of sorted) if (!kept.length || f.p99_s < kept.at(-1).p99_s) kept.push(f);
    return kept;
  }

  function fleets(machines, works, rate, bytesOf, a, handling_s) {
    const found = [];
    for (const machine of machines)
      for (const batch of T.queue.batches)
        for (const load of T.loads)
          found.push(fleet(works, machine, batch, load * a.max_load, rate, bytesOf(machine, batch), a, handling_s));
    return front(found);
  }

  // ---- an option on machines

  const least = (rows, cost) => rows.reduce((best, row) => (cost(row) < cost(best) ? row : best));
  const processors = T.machines.filter((m) => m.kind === "cpu");

  function itemSeconds(option, machine, tokens, a) {
    let total = 0;
    for (const name of option.encoders) total += seconds(T.encode[name][tokens], machine, a.encode_batch, a) / a.encode_batch;
    return total;
  }

  function encodeMachine(option, tokens, a) {
    if (!option.encoders.length) return null;
    const works = option.encoders.map((name) => T.encode[name][tokens]);
    const machines = option.encoders.some((name) => T.encoders[name]) ? T.machines : processors;
    return least(whereKnown(machines, works, a), (m) => itemSeconds(option, m, tokens, a) * price(m, a));
  }

  function rerankState(option, machine, batch, s) {
    const [narrow, wide, each] = T.rerank_bytes[option.reranker][s.text_tokens];
    return (machine.has_8_bits ? narrow : wide) + batch * each;
  }

  function nightly(option, s, a) {
    const works = T.rerank[option.reranker][s.text_tokens], batch = T.queue.batches.at(-1);
    let best = [Infinity, false];
    for (const machine of whereKnown(T.machines, works, a)) {
      const shards = shardsFor(rerankState(option, machine, batch, s), machine);
      let each = 0;
      for (const work of works) each += seconds(work, machine, batch, a) / batch;
      const usd = (month_days * s.users * (each / shards) * (shards * price(machine, a))) / hour_s;
      if (usd < best[0]) best = [usd, works.every((work) => knows(work, machine, a))];
    }
    return best;
  }

  function refit(option, s, a) {
    const work = refitWorkload(option, s.users, s.items, a);
    const machine = least(whereKnown(processors, [work], a), (m) => seconds(work, m, 1, a) * price(m, a));
    const matrices = option.fits.includes("map") ? 3 : option.fits.includes("ease") ? 1 : 0;
    return [machine, shardsFor(4 * matrices * (s.items * s.items), machine), option.fits.length ? seconds(work, machine, 1, a) : 0];
  }

  const g3 = (x) => String(Number(x.toPrecision(3)));

  function limits(s, p99_s, fastest_s, refit_s) {
    if (p99_s > s.latency_limit_s)
      return [`latency: p99 ${g3(p99_s)} s, limit ${g3(s.latency_limit_s)} s`, `a limit of ${g3(fastest_s)} s or more`];
    const every = s.refits_per_month ? month_s / s.refits_per_month : Infinity;
    if (refit_s > every)
      return [`refit: takes ${g3(refit_s / 86400)} days, refitted every ${g3(every / 86400)}`, `at most ${g3(month_s / refit_s)} refits a month`];
    return ["", ""];
  }

  function joules(s, stages) {
    let total = 0;
    for (const f of stages) {
      const watts = f.machine.watts * (T.idle_share + (1 - T.idle_share) * (f.load * s.mean_to_peak));
      total += f.machines * watts * month_s;
    }
    return total;
  }

  function cheapest(option, s, a) {
    const works = servingWorkloads(option, s, a), bytes = stateBytes(option, s.items, coldItems(s), a);
    const serving = fleets(whereKnown(processors, works, a), works, s.requests_per_s, () => bytes, a, a.handling_s);
    let reranked = [null];
    if (option.reranker && !option.nightly) {
      const order = T.rerank[option.reranker][s.text_tokens];
      reranked = fleets(whereKnown(T.machines, order, a), order, s.requests_per_s, (m, b) => rerankState(option, m, b, s), a, 0);
    }
    const plans = serving.flatMap((one) => reranked.map((two) => (two ? [one, two] : [one])));
    const p99 = (plan) => plan[0].p99_s + (plan[1] ? plan[1].p99_s : 0);
    const usd = (plan) => plan[0].usd + (plan[1] ? plan[1].usd : 0);
    const within = plans.filter((plan) => p99(plan) <= s.latency_limit_s);
    const stages = (within.length ? within : plans).reduce((best, plan) =>
      usd(plan) < usd(best) || (usd(plan) === usd(best) && p99(plan) < p99(best)) ? plan : best);
    return deployment(option, s, a, stages, p99(stages), Math.min(...plans.map(p99)));
  }

  function deployment(option, s, a, stages, p99_s, fastest_s) {
    const encoder = encodeMachine(option, s.text_tokens, a);
    const item_s = encoder ? itemSeconds(option, encoder, s.text_tokens, a) : 0;
    const usd_per_item = encoder ? (item_s * price(encoder, a)) / hour_s : 0;
    const [fitter, shared, refit_s] = refit(option, s, a);
    const [lists, listsKnown] = option.nightly ? nightly(option, s, a) : [0, true];
    const bill = {
      serving: stages[0].usd,
      reranking: stages[1] ? stages[1].usd : 0,
      encoding: s.new_items_per_day * month_days * usd_per_item,
      refits: (s.refits_per_month * refit_s * price(fitter, a)) / hour_s,
      nightly: lists,
    };
    const total = bill.serving + bill.reranking + bill.encoding + bill.refits + bill.nightly;
    const known = listsKnown && option.encoders.every((name) => knows(T.encode[name][s.text_tokens], encoder, a))
      && stages.every((f) => f.basis === "model") && !(stages[1] && stages[1].shards > 1);
    const [problem, nearest] = limits(s, p99_s, fastest_s, refit_s / shared);
    return {
      option, name: option.name, kind: option.kind, stages, encoder, item_s, usd_per_item, fitter, shared, refit_s, bill, p99_s,
      usd_per_month: total, usd_per_million: total / (listsPerMonth(s) / 1e6), joules_per_month: joules(s, stages),
      problem, nearest, basis: known ? "model" : "bound",
    };
  }

  // ---- the decision

  // Dollars a month that quality earns less the bill; null where a part was not measured or the option cannot serve.
  function net(c, s, usdPerPoint) {
    const share = coldShare(s), warm = share === 1 ? 0 : c.warm, cold = share === 0 ? 0 : c.cold;
    if (warm === null || cold === null) return { quality: null, net: null };
    const quality = (1 - share) * warm + share * cold;
    const earned = (100 * quality * usdPerPoint * listsPerMonth(s)) / 1e6;
    return { quality, net: c.problem ? null : earned - c.usd_per_month };
  }

  function decide(s, a, protocol, usdPerPoint) {
    const found = T.options.map((option) => {
      const [warm, cold] = T.quality[protocol][option.name], c = { ...cheapest(option, s, a), warm, cold };
      return { ...c, ...net(c, s, usdPerPoint) };
    });
    let best = null;
    for (const c of found) if (c.net !== null && (best === null || c.net > best.net)) best = c;
    return { options: found, best };
  }

  // The best option by name at other values of the two axes; the bills stay as they are.
  function bestAt(options, s, share, usdPerPoint) {
    let best = null, top = -Infinity;
    for (const c of options) {
      const found = net(c, { ...s, cold_requests: share }, usdPerPoint);
      if (found.net !== null && found.net > top) [best, top] = [c.name, found.net];
    }
    return best;
  }

  return { decide, bestAt, coldShare, listsPerMonth, price };
};

if (typeof module !== "undefined") module.exports = Model;
