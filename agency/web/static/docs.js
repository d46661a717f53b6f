"use strict";
// Shows /openapi.json. Everything is put in as text, never as markup, so no content can act.
const $ = (id) => document.getElementById(id);

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

const prose = (text) => {
  const parts = String(text ?? "").split("`");
  return make("p", {}, ...parts.map((part, i) => (i % 2 ? make("code", {}, part) : part)));
};

const kindOf = (schema, api) => {
  if (!schema || Object.keys(schema).length === 0) return "any JSON";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map((one) => kindOf(one, api)).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${kindOf(schema.items, api)}`;
  const bounds = [];
  if (schema.minimum !== undefined) bounds.push(`from ${schema.minimum}`);
  if (schema.exclusiveMinimum !== undefined) bounds.push(`above ${schema.exclusiveMinimum}`);
  if (schema.maximum !== undefined) bounds.push(`to ${schema.maximum}`);
  if (schema.maxLength !== undefined) bounds.push(`up to ${schema.maxLength} characters`);
  return [schema.format ?? schema.type ?? "any JSON", ...bounds].join(", ");
};

const resolve = (schema, api) =>
  schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema;

const members = (schema, api) => {
  const found = resolve(schema, api);
  if (!found?.properties) return make("p", {}, kindOf(schema, api));
  const needed = new Set(found.required ?? []);
  const rows = Object.entries(found.properties).map(([name, member]) => {
    const text = [member.description, member.default !== undefined && member.default !== null
      ? `Default ${JSON.stringify(member.default)}.` : ""].filter(Boolean).join(" ");
    return make("tr", {},
      make("th", { scope: "row" }, make("code", { class: needed.has(name) ? "needed" : undefined }, name)),
      make("td", {}, kindOf(member, api)), make("td", {}, text));
  });
  return make("table", {}, make("tbody", {}, ...rows));
};

const exampleOf = (schema, api, depth = 0) => {
  const found = resolve(schema, api);
  if (!found || depth > 3) return null;
  if (found.default !== undefined && found.default !== null) return found.default;
  if (found.enum) return found.enum[0];
  if (found.anyOf) return exampleOf(found.anyOf[0], api, depth + 1);
  if (found.properties) {
    return Object.fromEntries((found.required ?? []).map(
      (name) => [name, exampleOf(found.properties[name], api, depth + 1)]));
  }
  return { string: "text", integer: 1, number: 1, boolean: false, array: [], object: {} }[found.type] ?? null;
};

const tryIt = (method, path, operation, api) => {
  const inputs = [];
  const form = make("form", {});
  for (const parameter of operation.parameters) {
    const input = make("input", { name: parameter.name, placeholder: parameter.example ?? "" });
    inputs.push([parameter, input]);
    form.append(make("label", { class: "field" },
      make("span", { class: parameter.required ? "needed" : undefined }, parameter.name), input));
  }
  let body = null;
  const content = operation.requestBody?.content?.["application/json"];
  if (content) {
    const given = Object.values(content.examples ?? {})[0]?.value;
    body = make("textarea", { "aria-label": "Body", spellcheck: "false" });
    body.value = JSON.stringify(given ?? exampleOf(content.schema, api), null, 2);
    form.append(body);
  }
  const output = make("pre", { hidden: true, "aria-live": "polite" });
  form.append(make("button", { type: "submit" }, "Send"), output);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let url = path;
    const query = new URLSearchParams();
    const headers = {};
    for (const [parameter, input] of inputs) {
      if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value === "") continue;
      else if (parameter.in === "header") headers[parameter.name] = input.value;
      else if (parameter.schema.type === "array") input.value.split(",").forEach((v) => query.append(parameter.name, v.trim()));
      else query.set(parameter.name, input.value);
    }
    if ($("token").value) headers.Authorization = `Bearer ${$("token").value}`;
    if (body) headers["Content-Type"] = "application/json";
    if ([...query].length) url += `?${query}`;
    output.hidden = false;
    output.textContent = "…";
    const began = performance.now();
    try {
      const answer = await fetch(url, { method: method.toUpperCase(), headers, body: body ? body.value : undefined });
      let text = await answer.text();
      try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* Not JSON: shown as it came. */ }
      const location = answer.headers.get("Location");
      output.textContent = `${answer.status} ${answer.statusText} in ${Math.round(performance.now() - began)} ms\n`
        + (location ? `Location: ${location}\n` : "") + `\n${text}`;
    } catch (error) {
      output.textContent = `No answer: ${error.message}`;
    }
  });
  return make("details", {}, make("summary", {}, "Try it"), form);
};

const show = (method, path, operation, api) => {
  const content = operation.requestBody?.content?.["application/json"];
  const parameters = operation.parameters.map((parameter) => make("tr", {},
    make("th", { scope: "row" }, make("code", { class: parameter.required ? "needed" : undefined }, parameter.name)),
    make("td", {}, parameter.in), make("td", {}, kindOf(parameter.schema, api)),
    make("td", {}, parameter.description ?? "")));
  const answers = Object.entries(operation.responses).map(([status, answer]) => {
    const [media, kind] = Object.entries(answer.content ?? {})[0] ?? [];
    const shape = media === "application/json" ? make("details", {},
      make("summary", {}, kindOf(kind.schema, api)), members(kind.schema, api)) : media ?? "";
    return make("tr", {}, make("th", { scope: "row" }, status), make("td", {}, prose(answer.description)), make("td", {}, shape));
  });
  return make("article", { id: operation.operationId, "data-text": `${method} ${path} ${JSON.stringify(operation)}`.toLowerCase() },
    make("h3", {}, make("span", { class: `method ${method}` }, method.toUpperCase()), make("code", {}, path)),
    make("p", {}, operation.summary), operation.description ? prose(operation.description) : null,
    parameters.length ? make("details", {}, make("summary", {}, "Parameters"), make("table", {}, make("tbody", {}, ...parameters))) : null,
    content ? make("details", {}, make("summary", {}, `Body: ${kindOf(content.schema, api)}`), members(content.schema, api)) : null,
    make("details", {}, make("summary", {}, "Answers"), make("table", {}, make("tbody", {}, ...answers))),
    tryIt(method, path, operation, api));
};

const problems = (api) => {
  const rows = (api["x-problems"] ?? []).map((problem) => make("tr", { id: `problem-${problem.code}` },
    make("th", { scope: "row" }, make("code", {}, problem.code)), make("td", {}, String(problem.status)),
    make("td", {}, problem.description), make("td", {}, prose(problem.hint))));
  return make("article", { id: "problems" }, make("h3", {}, "Problems"),
    make("p", {}, "What goes wrong has a code that never changes its meaning."),
    make("table", {}, make("tbody", {}, ...rows)));
};

const start = async () => {
  const api = await (await fetch("/openapi.json")).json();
  $("version").textContent = api.info.version;
  $("summary").replaceWith(prose(api.info.description));
  const articles = [];
  const contents = [];
  for (const { name } of api.tags) {
    contents.push(make("h2", {}, name));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (operation.tags[0] !== name) continue;
        articles.push(show(method, path, operation, api));
        contents.push(make("a", { href: `#${operation.operationId}` }, operation.summary));
      }
    }
  }
  articles.push(problems(api));
  contents.push(make("h2", {}, "errors"), make("a", { href: "#problems" }, "Problems"));
  $("contents").replaceChildren(...contents);
  $("operations").replaceChildren(...articles);
  $("find").addEventListener("input", () => {
    const wanted = $("find").value.toLowerCase();
    for (const article of articles) article.hidden = !(article.dataset.text ?? "").includes(wanted) && wanted !== "";
  });
  const mark = () => {
    document.querySelector(".target")?.classList.remove("target");
    const target = location.hash && $(decodeURIComponent(location.hash.slice(1)));
    if (target) { target.classList.add("target"); target.scrollIntoView(); }
  };
  window.addEventListener("hashchange", mark);
  mark();
};

start().catch((error) => { $("operations").textContent = `The API's document could not be loaded: ${error.message}`; });
