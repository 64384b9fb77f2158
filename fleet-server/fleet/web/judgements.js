// The last judgement of each device on each model, drawn. What a device sent is looked at field by field: what is
// missing or odd is left out, and every text becomes a text node. It uses the tools of app.js.
"use strict";

const SIDE = 8; // pixels of a sketch
const MOST_PROBES = 16;
const MOST_EXAMPLES = 6;
const TESTS = { errors: "Errors", late: "Late answers", votes: "Reports of apps", outdone: "Outdone by the release before" };
const GATES = {
  rebuild: "compared as a rebuild", retrained: "compared as retrained", other: "compared as another architecture",
  advisory: "told only, decides nothing",
};
const COMPARED = [["rehearsal", "Rehearsal", "recent inputs"], ["shadow", "Shadow", "live inputs"]];
const unfolded = new Map(); // what a reader opened or closed, by device and model

// --- what a device sent ------------------------------------------------------------------------------------------

const object = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : {});
const list = (value, most) => (Array.isArray(value) ? value.slice(0, most).map(object) : []);
const words = (value) => (typeof value === "string" ? value : "");
const number = (value) => (Number.isFinite(value) ? value : null);
const all = (...values) => values.every((value) => number(value) !== null);
const share = (ppm) => (ppm / 1e6).toFixed(2);

// --- parts of a panel --------------------------------------------------------------------------------------------

// A bar from `least` to `most`, with a mark at the limit.
function bar(value, limit, least, most, kind, told) {
  const at = (what) => `${100 * Math.min(1, Math.max(0, (what - least) / (most - least || 1)))}%`;
  const filled = node("span", { class: "filled" });
  filled.style.width = at(value);
  const mark = limit === null ? null : node("span", { class: "mark" });
  if (mark) mark.style.left = at(limit);
  return node("div", { class: `bar ${kind}`, role: "img", "aria-label": told }, filled, mark);
}

function measure(name, drawn, told, note) {
  return node("div", { class: "measure" },
    node("span", { class: "what" }, name), drawn, node("span", { class: "told" }, told),
    note ? node("span", { class: "note" }, note) : null);
}

function skill(name, value, limit) {
  if (!all(value)) return null;
  const known = number(limit);
  const told = known === null ? share(value) : `${share(value)}, at least ${share(known)}`;
  const least = Math.min(0, known ?? 0) - (value < 0 || known === 0 ? 250000 : 0);
  return measure(name, bar(value, known, least, 1e6, known !== null && value < known ? "bad" : "good", told), told);
}

function disagreements(found) {
  const { sure, disagreements: differ, disagreements_limit: most } = found;
  if (!all(sure, differ)) return null;
  const limit = all(most) ? most : null;
  const told = `${differ} of ${sure}${limit === null ? "" : `, ${limit} is bad`}`;
  const kind = limit !== null && sure > 0 && differ >= limit ? "bad" : "good";
  return measure("Sure disagreements", bar(differ, limit, 0, Math.max(sure, limit || 0, 1), kind, told), told);
}

function pace(found) {
  if (!all(found.ratio_ppm)) return null;
  const told = `${share(found.ratio_ppm)} × its baseline`;
  const kind = found.ratio_ppm > 2.5e6 ? "bad" : found.ratio_ppm > 1.5e6 ? "warn" : "good";
  return measure("Time", bar(found.ratio_ppm, 1e6, 0, 3e6, kind, told), told);
}

function probes(found) {
  const tried = list(found.probes, MOST_PROBES);
  if (!tried.length) return null;
  const order = tried.sort((a, b) => Number(Boolean(b.fires)) - Number(Boolean(a.fires)) || (b.skill_ppm || 0) - (a.skill_ppm || 0));
  return node("div", { class: "probes" },
    node("h4", {}, "What would explain it"),
    node("ul", {}, order.map((probe) => node("li", { class: probe.fires ? "fires" : "" },
      node("span", { class: "text" }, `it ${words(probe.text) || words(probe.name) || "has a fault without a name"}`),
      node("span", { class: "told" }, all(probe.skill_ppm) ? `skill ${share(probe.skill_ppm)}` : ""),
      probe.fires ? pill("fires", "bad") : null))));
}

// 128 hex digits as grey values on a canvas; nothing for anything else.
function sketch(digits) {
  if (!/^[0-9a-f]{128}$/i.test(words(digits))) return null;
  const canvas = node("canvas", { width: SIDE, height: SIDE, class: "sketch", role: "img", "aria-label": "sketch of the input" });
  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(SIDE, SIDE);
  for (let at = 0; at < SIDE * SIDE; at += 1) {
    const grey = parseInt(digits.slice(2 * at, 2 * at + 2), 16);
    pixels.data.set([grey, grey, grey, 255], 4 * at);
  }
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

function examples(found) {
  const worst = list(found.worst, MOST_EXAMPLES);
  if (!worst.length) return null;
  const side = (name, said) => node("div", {}, node("dt", {}, name), node("dd", {}, words(said) || "–"));
  return node("div", { class: "examples" },
    node("h4", {}, "Where they differ most"),
    node("ul", {}, worst.map((one) => node("li", {},
      sketch(one.sketch) || node("span", { class: "sketch none" }, "no sketch"),
      node("dl", {}, side("Before", one.baseline), side("Release", one.release)),
      all(one.far_ppm) ? node("span", { class: "note" }, `${(one.far_ppm / 1e4).toFixed(1)} % of all difference`) : null))));
}

function finding(found, none) {
  if (none) return pill("no evidence");
  if (words(found.verdict)) return pill(found.verdict, found.gate === "advisory" ? "warn" : "bad");
  return found.verdict === "" ? pill("nothing found", "good") : null;
}

function comparison(found, name, inputs) {
  const none = found.evidence === "none";
  const about = [
    all(found.inputs) ? `${found.inputs} ${inputs}${all(found.scenes) ? `, ${found.scenes} scenes` : ""}` : "",
    all(found.baseline_release) ? `against release ${found.baseline_release}` : "",
    words(GATES[found.gate]) || words(found.gate),
  ].filter(Boolean).join(" · ");
  const bars = none ? [] : [
    skill("Skill", found.skill_ppm, found.skill_limit_ppm),
    skill("Skill of boxes", found.boxes_ppm, found.skill_limit_ppm),
    disagreements(found), pace(found),
  ];
  return node("section", { class: "part" },
    node("h4", {}, name, finding(found, none)),
    about ? node("p", { class: "about" }, about) : null,
    none ? node("p", { class: "about" }, words(found.why) || "It does not say why.") : null,
    node("div", { class: "split" }, node("div", { class: "measures" }, bars), none ? [] : [probes(found), examples(found)]));
}

function tests(found) {
  const rows = Object.entries(object(found)).map(([signal, value]) => {
    const test = object(value);
    const counts = [["bad", "requests"], ["bad_blocks", "blocks"]].filter(([bad, of]) => all(test[bad], test[of]))
      .map(([bad, of]) => `${test[bad]} of ${test[of]} ${of}`).join(", ");
    const name = Object.hasOwn(TESTS, signal) ? TESTS[signal] : signal;
    if (!all(test.ratio_milli, test.bound_milli)) return counts ? measure(name, node("span", {}), counts) : null;
    const { ratio_milli: ratio, bound_milli: bound } = test;
    const told = `${(ratio / 1000).toFixed(1)}, ${(bound / 1000).toFixed(1)} is bad`;
    return measure(name, bar(ratio, bound, 0, Math.max(ratio, bound) * 1.15, ratio >= bound ? "bad" : "good", told), told, counts);
  }).filter(Boolean);
  if (!rows.length) return null;
  return node("section", { class: "part" },
    node("h4", {}, "Tests on live traffic"),
    node("p", { class: "about" }, "likelihood ratio of a worse release, against its bound"),
    node("div", { class: "measures" }, rows));
}

// --- panels ------------------------------------------------------------------------------------------------------

const kindOf = (judgement) => {
  const outcome = object(judgement.evidence).outcome;
  return Object.hasOwn(KIND, outcome) ? KIND[outcome] : "";
};
const isFault = (judgement) => kindOf(judgement) === "bad";

function panel(judgement, key, isOpen) {
  const evidence = object(judgement.evidence);
  const outcome = words(evidence.outcome) || "judged";
  const reason = words(evidence.reason) || (isFault(judgement) ? "It does not say why." : "Nothing was found that is worse than before.");
  const parts = [
    ...COMPARED.map(([field, name, inputs]) => evidence[field] && typeof evidence[field] === "object" ? comparison(object(evidence[field]), name, inputs) : null),
    tests(evidence.tests),
  ].filter(Boolean);
  const made = node("details", { class: `card panel ${kindOf(judgement)}`, open: isOpen ? "" : false },
    node("summary", {},
      node("span", { class: "head" },
        node("b", {}, `${judgement.model} release ${release(judgement.model, judgement.release)}`),
        node("span", { class: "quiet" }, `on ${judgement.device}`),
        pill(outcome, kindOf(judgement)),
        words(evidence.code) ? node("code", {}, evidence.code) : null,
        node("span", { class: "when" }, moment(judgement.received))),
      node("span", { class: "verdict" }, reason.charAt(0).toUpperCase() + reason.slice(1))),
    parts.length ? node("div", { class: "parts" }, parts) : node("p", { class: "nothing" }, "No numbers came with it."));
  made.addEventListener("toggle", () => unfolded.set(key, made.open));
  return made;
}

function showJudgements() {
  const parent = byId("judgements");
  if (!known.judgements.length) {
    parent.replaceChildren(node("p", { class: "nothing" }, "No release was judged yet: what a trial finds is drawn here."));
    return;
  }
  const first = known.judgements.findIndex(isFault);
  const items = known.judgements.map((judgement, at) => ({ judgement, version: release(judgement.model, judgement.release), first: at === first }));
  const key = ({ judgement }) => `${judgement.device} ${judgement.model}`;
  show(parent, items, key, (item) => panel(item.judgement, key(item), unfolded.get(key(item)) ?? item.first));
}
