// The rows of the table `features` for features with a page, from features/table-data.js. A page that has loaded a part of
// features/rows/ instead finds the rows of the features in it.
//
//   saeRow(root, number)  a promise of {column: value} for one feature, with the column names of `features`; null if it
//                         is not among them. Floats have six significant digits. `root` is the path to the catalog's folder.
//   saeColumn(name)       one column as a list, in the order of the pages; only after the data has loaded.
(() => {
  const columns = new Map();

  const unpack = (packed) => typeof packed === "string" ? packed.split(",").map((text) => text === "" ? null : Number(text))
    : packed.names ? unpack(packed.codes).map((code) => packed.names[code]) : packed;

  window.saeColumn = (name) => {
    if (!columns.has(name)) columns.set(name, unpack(window.saeTable.values[name] ?? window.saeTable[name]));
    return columns.get(name);
  };

  window.saeRow = async (root, number) => {
    if (!window.saeTable) await window.saeLoad(`${root}features/table-data.js`);
    const at = window.saeColumn("feature").indexOf(number);
    const names = Object.keys(window.saeTable.values);
    return at < 0 ? null : Object.fromEntries(names.map((name) => [name, window.saeColumn(name)[at]]));
  };
})();
