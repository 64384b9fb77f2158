// The page: asks for what changed and shows it. Texts from devices only ever become text nodes.
"use strict";

const NOUNS = ["status", "devices", "releases", "rollouts", "judgements", "events"];
const PAUSE_MS = 300; // between two rounds of questions
const MOST_ROWS = 200; // devices shown of one rollout
const known = { status: null, devices: [], releases: [], rollouts: [], judgements: [], events: [] };

const KIND = {
  committed: "good", done: "good",
  fetching: "busy", staged: "busy", testing: "busy", trial: "busy", running: "busy",
  "rolled-back": "bad", failed: "bad", stuck: "bad", halted: "bad",
  blocked: "warn", held: "warn",
};
const EVENT_KIND = {
  committed: "good", fetched: "busy", tested: "busy", activated: "busy", "update-started": "busy", published: "busy",
  "rollout-done": "good", "rollout-started": "busy", "rollout-halted": "bad", enrolled: "good",
  "rolled-back": "bad", failed: "bad", stuck: "bad", "worker-died": "bad", renewed: "bad", judged: "busy",
  "wrong-bytes": "warn", needed: "warn", refused: "warn", blocked: "warn", "desired-refused": "warn",
  alarm: "warn", "alarm-ended": "good",
};
const SEVERITY = { critical: "bad", warning: "warn", notice: "" };
const ORDER = ["stuck", "failed", "rolled-back", "blocked", "held", "trial", "testing", "staged", "fetching",
  "offered", "pending", "committed", "superseded"];

// --- nodes -------------------------------------------------------------------------------------------------------

function node(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const byId = (id) => document.getElementById(id);
const pill = (text, kind) => node("span", { class: `pill ${kind || ""}` }, text);

// Keeps the nodes whose item is unchanged, so that selections and scrolling survive.
function show(parent, items, key, make) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const name = String(key(item));
    const text = JSON.stringify(item);
    const there = old.get(name);
    if (there && there.item === text) return there;
    const made = make(item);
    made.dataset.key = name;
    made.item = text;
    return made;
  });
  wanted.forEach((child, at) => {
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] || null);
  });
  while (parent.children.length > wanted.length) parent.lastElementChild.remove();
}

function size(bytes) {
  const units = ["B", "KB", "MB", "GB"];
  let at = 0;
  while (bytes >= 1000 && at < units.length - 1) { bytes /= 1000; at += 1; }
  return `${bytes >= 100 || at === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[at]}`;
}

function ago(seconds) {
  if (!seconds) return "never";
  const past = Math.max(0, Date.now() / 1000 - seconds);
  if (past < 10) return "just now";
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    if (past >= length) return `${Math.floor(past / length)} ${unit} ago`;
  }
  return "just now";
}

function moment(seconds) {
  const made = node("time", seconds ? { title: new Date(seconds * 1000).toLocaleString() } : {}, ago(seconds));
  made.dataset.at = seconds;
  return made;
}

function facts(values) {
  const pairs = Object.entries(values || {});
  if (!pairs.length) return null;
  return node("div", { class: "facts" }, pairs.map(([name, value]) =>
    node("span", {}, `${name.replace(/_bytes$/, "").replaceAll("_", " ")} `, node("b", {}, fact(name, value)))));
}

function fact(name, value) {
  if (name.endsWith("_bytes") && Number.isInteger(value)) return size(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function progress(update) {
  if (!update || !update.total_bytes || update.fetched_bytes >= update.total_bytes) return null;
  const share = Math.floor(100 * update.fetched_bytes / update.total_bytes);
  return node("div", { class: "fetch" },
    node("progress", { max: update.total_bytes, value: update.fetched_bytes, "aria-label": `${share} % fetched` }),
    `${share} %, ${size(update.fetched_bytes)} of ${size(update.total_bytes)}`);
}

const versions = () => new Map(known.releases.map((one) => [`${one.model} ${one.release}`, one.version]));
function release(model, number) {
  if (!number) return "–";
  const version = versions().get(`${model} ${number}`);
  return version ? `${number} (${version})` : String(number);
}

function nothing(columns, text) {
  const row = node("tr", {}, node("td", { class: "nothing", colspan: columns }, text));
  row.dataset.key = "nothing";
  return row;
}

function fill(id, items, key, make, columns, empty) {
  const body = byId(id);
  if (items.length) show(body, items, key, make);
  else body.replaceChildren(nothing(columns, empty));
}

// --- parts of the page -------------------------------------------------------------------------------------------

function showStatus() {
  const status = known.status;
  if (!status) return;
  byId("tenant").textContent = status.tenant === "main" ? "fleet" : status.tenant;
  const { engine, host, port, connected } = status.broker;
  byId("broker").className = `pill ${connected ? "good" : "bad"}`;
  byId("broker").textContent = `${engine} ${host}:${port}${connected ? "" : ", not connected"}`;
  byId("warnings").replaceChildren(...status.warnings.map((text) => node("p", { class: "warning", role: "alert" }, text)));
}

function newest() {
  const seen = new Map();
  for (const rollout of known.rollouts) if (!seen.has(rollout.model)) seen.set(rollout.model, rollout);
  return [...seen.values()];
}

function showTiles() {
  const online = known.devices.filter((device) => device.online).length;
  const rollouts = newest();
  const count = (state) => rollouts.filter((rollout) => rollout.state === state).length;
  const tiles = [
    [`${online} of ${known.devices.length}`, "devices online", ""],
    [String(new Set(known.releases.map((one) => one.model)).size), "models", ""],
    [String(count("running")), "rollouts running", ""],
    [String(count("halted")), "rollouts halted", count("halted") ? "bad" : ""],
  ];
  show(byId("tiles"), tiles, (tile) => tile[1], ([number, what, kind]) =>
    node("li", { class: kind }, node("strong", {}, number), node("span", {}, what)));
}

function standingRow(rollout, device) {
  const evidence = device.evidence ? `evidence ${device.evidence}` : "";
  return node("tr", {},
    node("td", { class: "name" }, device.id),
    node("td", {}, pill(device.state, KIND[device.state]), device.state === "fetching" ? progress(device) : null),
    node("td", { class: "model" }, release(rollout.model, device.release)),
    node("td", { class: "reason" }, device.reason || node("span", { class: "quiet" }, evidence || "–"), facts(device.facts)));
}

function sum(rollout) {
  const counts = new Map();
  for (const device of rollout.devices) counts.set(device.state, (counts.get(device.state) || 0) + 1);
  const parts = [...counts].sort((a, b) => ORDER.indexOf(b[0]) - ORDER.indexOf(a[0]));
  const bar = node("div", { class: "sum", role: "img", "aria-label": parts.map(([state, n]) => `${n} ${state}`).join(", ") },
    parts.map(([state, n]) => {
      const part = node("span", { class: KIND[state] || "", title: `${n} ${state}` });
      part.style.flexGrow = n;
      return part;
    }));
  const text = parts.map(([state, n]) => `${n} ${state}`).join(" · ");
  return [bar, text];
}

function policy(rollout) {
  return [
    rollout.urgent ? "urgent" : rollout.window ? `activated ${rollout.window}` : "",
    rollout.gate ? `gate ${rollout.gate}` : "",
    rollout.shadow_s ? `${Number((rollout.shadow_s / 3600).toFixed(1))} h in the shadow` : "",
  ];
}

function halt(rollout) {
  if (rollout.state !== "halted" || !rollout.reason) return null;
  const { code, reason, devices, of } = rollout.fault || {};
  const most = of > 1 ? node("span", {}, `Most often, on ${devices} of ${of} devices: `,
    node("b", {}, code || "no code"), reason ? `, ${reason}` : "") : null;
  return node("p", { class: "halt" }, most || `Halted: ${rollout.reason}`,
    most ? node("span", { class: "first" }, `Halted by ${rollout.reason}`) : null);
}

function rolloutCard(rollout) {
  const [bar, text] = sum(rollout);
  const devices = [...rollout.devices].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || a.id.localeCompare(b.id));
  const rows = devices.slice(0, MOST_ROWS).map((device) => standingRow(rollout, device));
  if (devices.length > MOST_ROWS) rows.push(nothing(4, `and ${devices.length - MOST_ROWS} more`));
  return node("article", { class: "card" },
    node("header", {},
      node("h3", {}, `${rollout.model} release ${release(rollout.model, rollout.release)}`),
      pill(rollout.state, KIND[rollout.state]),
      node("span", { class: "quiet small" }, [`to ${rollout.to}`, ...policy(rollout), rollout.attempt > 1 ? `attempt ${rollout.attempt}` : "", text]
        .filter(Boolean).join(" · ")),
      node("span", { class: "when" }, "started ", moment(rollout.created))),
    bar,
    halt(rollout),
    node("div", { class: "inner" }, node("table", {},
      node("thead", {}, node("tr", {}, ["Device", "State", "Serves", "Why"].map((name) => node("th", {}, name)))),
      node("tbody", {}, rows.length ? rows : nothing(4, "No device matches yet; those that join later are offered it.")))));
}

function historyTable(rollouts) {
  return node("div", { class: "scroll" }, node("table", {},
    node("thead", {}, node("tr", {}, ["Rollout", "State", "Devices", "Why", "Started"].map((name) => node("th", {}, name)))),
    node("tbody", {}, rollouts.map((rollout) => node("tr", {},
      node("td", { class: "name" }, `${rollout.model} release ${release(rollout.model, rollout.release)}`,
        node("span", { class: "quiet small" }, ` to ${rollout.to}`)),
      node("td", {}, pill(rollout.state, KIND[rollout.state])),
      node("td", { class: "small" }, sum(rollout)[1] || "none"),
      node("td", { class: "reason small" }, rollout.reason),
      node("td", { class: "time" }, moment(rollout.created)))))));
}

function showRollouts() {
  const current = newest();
  const past = known.rollouts.filter((rollout) => !current.includes(rollout));
  const items = current.map((rollout) => ({ rollout, version: release(rollout.model, rollout.release) }));
  if (past.length) items.push({ past });
  const parent = byId("rollouts");
  if (!items.length) {
    parent.replaceChildren(node("p", { class: "nothing" }, "No rollout yet. ",
      node("code", {}, "littoral-fleet rollout start MODEL --release I"), " begins one."));
    return;
  }
  const open = parent.querySelector("details")?.open;
  show(parent, items, (item) => item.rollout ? item.rollout.id : "past", (item) => item.rollout
    ? rolloutCard(item.rollout)
    : node("details", { open: open ? "" : false }, node("summary", {}, `${item.past.length} earlier`), historyTable(item.past)));
}

function modelCells(name, model) {
  const update = model.update;
  const stage = model.stage === "none" ? pill("not served") : pill(model.stage, KIND[model.stage]);
  const why = update ? update.detail : model.last && model.last.outcome !== "committed" ? model.last.reason : "";
  const what = update ? `release ${release(name, update.release)}: ${update.state}`
    : model.last && model.last.outcome !== "committed" ? `release ${release(name, model.last.release)}: ${model.last.outcome}` : "";
  return [
    node("td", { class: "model" }, name),
    node("td", { class: "model" }, release(name, model.release)),
    node("td", { class: "reason" }, stage, " ", model.evidence ? node("span", { class: "quiet small" }, `evidence ${model.evidence}`) : "",
      what ? node("div", { class: "small reason" }, what, why ? `, ${why}` : "") : null, progress(update)),
  ];
}

// Something wrong with a device: what, what was found, what can be done.
function alarm(one) {
  return node("span", { class: "alarm" }, pill(one.title, SEVERITY[one.severity]), " ", node("code", {}, one.code),
    one.text ? node("span", {}, one.text) : null, one.remedy ? node("span", { class: "quiet" }, one.remedy) : null);
}

function deviceRows(device) {
  const models = Object.entries(device.models).sort(([a], [b]) => a.localeCompare(b));
  const span = { rowspan: Math.max(1, models.length) };
  const tags = Object.entries(device.tags).map(([tag, value]) => `${tag}=${value}`);
  const name = node("td", { class: "name", ...span },
    node("span", { class: `dot ${device.online ? "on" : ""}`, role: "img", "aria-label": device.online ? "online" : "offline", title: device.online ? "online" : "offline" }),
    device.id,
    node("span", { class: "tags" }, [...tags, device.architecture, device.engine].filter(Boolean).join(" · ")),
    device.warnings.map(alarm));
  const seen = node("td", { class: "time", ...span }, moment(device.seen));
  if (!models.length) {
    return [node("tr", {}, name, node("td", { class: "quiet", colspan: 3 }, "no model yet"), seen)];
  }
  return models.map(([model, state], at) => at
    ? node("tr", {}, modelCells(model, state))
    : node("tr", {}, name, modelCells(model, state), seen));
}

function showDevices() {
  const body = byId("devices");
  if (!known.devices.length) {
    body.replaceChildren(nothing(5, node("span", {}, "No device yet. ", node("code", {}, "littoral-fleet token create"),
      " makes a token with which one may join.")));
    return;
  }
  const rows = known.devices.flatMap((device) => {
    const made = deviceRows(device);
    const item = { device, versions: [...versions()] };
    return made.map((row, at) => ({ key: `${device.id} ${at} ${made.length}`, item, row }));
  });
  const old = new Map([...body.children].map((child) => [child.dataset.key, child]));
  body.replaceChildren(...rows.map(({ key, item, row }) => {
    const text = JSON.stringify(item);
    const there = old.get(key);
    if (there && there.item === text) return there;
    row.dataset.key = key;
    row.item = text;
    return row;
  }));
}

function showReleases() {
  const served = (one) => known.devices.filter((device) => device.models[one.model]?.release === one.release).length;
  const items = known.releases.map((one) => ({ ...one, served: served(one) }));
  fill("releases", items, (one) => `${one.model} ${one.release}`, (one) => node("tr", {},
    node("td", { class: "name" }, one.model),
    node("td", { class: "number" }, String(one.release)),
    node("td", {}, one.version),
    node("td", {}, one.lineage),
    node("td", { class: "number" }, size(one.size_bytes)),
    node("td", { class: "number" }, String(one.floor)),
    node("td", {}, one.served ? `${one.served} device${one.served === 1 ? "" : "s"}` : node("span", { class: "quiet" }, "none")),
    node("td", { class: "time" }, moment(one.published)),
    node("td", {}, node("code", { title: one.bundle }, one.bundle.slice(0, 12)))),
  9, "No release yet.");
}

function showEvents() {
  fill("events", known.events, (event) => `${event.device} ${event.id}`, (event) => node("tr", {},
    node("td", { class: "time" }, moment(event.received)),
    node("td", { class: "name" }, event.device || node("span", { class: "quiet" }, "server")),
    node("td", {}, pill(event.kind, EVENT_KIND[event.kind])),
    node("td", { class: "reason" }, event.model && !event.text.includes(event.model) ? `${event.model}${event.release ? ` release ${event.release}` : ""}: ` : "",
      event.text, facts(event.facts))),
  4, "Nothing happened yet.");
}

function showAll() {
  showStatus();
  showTiles();
  showRollouts();
  showJudgements();
  showDevices();
  showReleases();
  showEvents();
}

// --- keeping up --------------------------------------------------------------------------------------------------

const due = new Set(NOUNS);
let asking = false;

async function ask() {
  if (asking) return;
  asking = true;
  try {
    while (due.size) {
      const nouns = NOUNS.filter((noun) => due.has(noun));
      due.clear();
      const answers = await Promise.all(nouns.map((noun) => fetch(`/api/v1/${noun}`, { cache: "no-store" })));
      if (answers.some((answer) => answer.status === 401)) { location.reload(); return; }
      const values = await Promise.all(answers.map((answer) => answer.ok ? answer.json() : null));
      nouns.forEach((noun, at) => { if (values[at] !== null) known[noun] = values[at]; });
      showAll();
      await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
  } catch {
    NOUNS.forEach((noun) => due.add(noun)); // the stream says when the server is back
  } finally {
    asking = false;
  }
}

function live(text, kind) {
  byId("live").textContent = text;
  byId("live").className = `pill ${kind}`;
}

const stream = new EventSource("/api/v1/stream");
stream.addEventListener("open", () => {
  live("live", "good");
  NOUNS.forEach((noun) => due.add(noun));
  ask();
});
stream.addEventListener("error", () => live("server away", "bad"));
stream.addEventListener("changed", (message) => {
  for (const noun of JSON.parse(message.data)) if (NOUNS.includes(noun)) due.add(noun);
  ask();
});
setInterval(() => {
  for (const time of document.querySelectorAll("time")) time.textContent = ago(Number(time.dataset.at));
}, 5000);
