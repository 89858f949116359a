// Runs the page's engine in Node, from the files of a catalog: texts flow in, runs flow out, both as JSON.
//   node in_node.mjs SCRIPTS LIVE < texts.json
// SCRIPTS is the site's folder assets/live, LIVE the catalog's folder live. As in a folder opened in a browser, each part is
// a script: what a page does with a script element is done here with its file.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { runInThisContext } from "node:vm";

const [scripts, live] = process.argv.slice(2).map((folder) => resolve(folder));
globalThis.self = globalThis;

function load(element) {
  try {
    // Each byte of a part is one character.
    const encoding = element.charset === "utf-8" ? "utf8" : "latin1";
    runInThisContext(readFileSync(fileURLToPath(element.src), encoding));
    element.onload();
  } catch (error) {
    element.onerror(error);
  }
}

globalThis.document = {
  createElement: () => ({ remove() {} }),
  head: { append: load },
};
for (const name of ["tokens.js", "parts.js", "engine.js"]) runInThisContext(readFileSync(join(scripts, name), "utf8"));

const engine = await globalThis.SaeLive.open(`${pathToFileURL(live)}/`);
await engine.load();
const runs = [];
for (const text of JSON.parse(readFileSync(0, "utf8"))) {
  const run = await engine.run(text);
  const lists = ["ids", "ends", "left_out", "starts", "features", "activations"].map((name) => [name, [...run[name]]]);
  runs.push({ ...run, ...Object.fromEntries(lists) });
}
process.stdout.write(JSON.stringify(runs));
