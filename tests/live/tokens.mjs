// Runs tokens.js in Node: [{settings, texts: [[text, most]]}] flows in, what saeTokens makes of each text flows out.
//   node tokens.mjs path/to/tokens.js < cases.json
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";

runInThisContext(readFileSync(process.argv[2], "utf8"));
const cases = JSON.parse(readFileSync(0, "utf8"));
const found = cases.map(({ settings, texts }) => {
  const { encode } = globalThis.saeTokens(settings);
  return texts.map(([text, most]) => {
    const made = encode(text, most ?? Infinity);
    return { ...made, ids: [...made.ids], ends: [...made.ends] };
  });
});
process.stdout.write(JSON.stringify(found));
