// The rules every page keeps. A rule is relaxed only here, with the reason.
export default {
  root: true,
  extends: ["html-validate:recommended"],
  rules: {
    // A title ends with the catalog's own, which is as long as its author made it.
    "long-title": "off",
    // The end tags of cells, rows and list items may be left out, and are a twelfth of a page.
    "no-implicit-close": "off",
  },
};
