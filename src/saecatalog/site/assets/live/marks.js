// Shows a typed text as the pages show theirs: a text, its tokens' ends and a feature's activations flow in, nodes with the
// same words, signs and marks as those of site/tokens.py flow out. Nothing of a text is ever read as HTML.
//   saeMarks.highlight(element, text, ends, [[token, activation], ...], largest, { window: [first, last], peak });
//   saeMarks.show(element, text);      a text without marks
//   saeMarks.token(element, text);     a token on its own, its spaces visible
//   saeMarks.level(value, largest);    the step of a mark, 1 to 9
// Ends count UTF-16 units here, as JavaScript does, and code points within this file, as Python does.
globalThis.saeMarks = (() => {
  const LEVELS = 9;
  const LONGEST_CHARACTER = 64;
  const SIGNS = "\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff\\ufff9-\\ufffb\\ud800-\\udfff";
  const SPECIAL = new RegExp(`[\\n\\t\\u00a0${SIGNS}]`, "gu");
  const SPECIAL_OR_SPACE = new RegExp(`[ \\n\\t\\u00a0${SIGNS}]`, "gu");
  const EXTENDS = /^[\u0300-\u036f\u200d\ufe00-\ufe0f\u{1f3fb}-\u{1f3ff}]$/u;
  const CLASSES = { "\n": "nl", "\t": "tb", "\u00a0": "nb" };
  const NAMES = {
    0xad: "soft hyphen",
    0x61c: "arabic letter mark",
    0x180e: "mongolian vowel separator",
    0x200b: "zero width space",
    0x200e: "left-to-right mark",
    0x200f: "right-to-left mark",
    0x2028: "line separator",
    0x2029: "paragraph separator",
    0x202a: "left-to-right embedding",
    0x202b: "right-to-left embedding",
    0x202c: "pop directional formatting",
    0x202d: "left-to-right override",
    0x202e: "right-to-left override",
    0x2060: "word joiner",
    0x2061: "function application",
    0x2062: "invisible times",
    0x2063: "invisible separator",
    0x2064: "invisible plus",
    0x2066: "left-to-right isolate",
    0x2067: "right-to-left isolate",
    0x2068: "first strong isolate",
    0x2069: "pop directional isolate",
    0xfeff: "zero width no-break space",
    0xfff9: "interlinear annotation anchor",
    0xfffa: "interlinear annotation separator",
    0xfffb: "interlinear annotation terminator",
  };

  const made = (tag, className, words) => Object.assign(document.createElement(tag), { className, textContent: words });

  // The node for one special character.
  function special(char) {
    if (char === " ") return Object.assign(document.createElement("i"), { textContent: char });
    if (char in CLASSES) return made("i", CLASSES[char], char);
    const code = char.codePointAt(0);
    const number = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
    const sign = code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : number;
    return Object.assign(made("i", "cc", sign), { title: `${number} ${NAMES[code] ?? "control character"}` });
  }

  // The nodes of a text; those characters that `pattern` finds become signs.
  function visible(text, pattern = SPECIAL) {
    const nodes = [];
    let from = 0;
    for (const found of text.matchAll(pattern)) {
      if (found.index > from) nodes.push(document.createTextNode(text.slice(from, found.index)));
      nodes.push(special(found[0]));
      from = found.index + found[0].length;
    }
    if (from < text.length) nodes.push(document.createTextNode(text.slice(from)));
    return nodes;
  }

  function level(value, largest) {
    const step = largest > 0 ? Math.ceil((LEVELS * value) / largest) : 1;
    return Math.max(1, Math.min(LEVELS, step));
  }

  // Python's format .4g: four significant digits, without zeros at the end. toExponential rounds a half up, Python to the
  // even digit.
  function fourDigits(value) {
    const exact = value.toExponential(30);
    const isEven = /^-?\d\.\d\d[02468]50*e/.test(exact);
    const [digits, power] = isEven ? exact.replace(/50*e/, "e").split("e") : value.toExponential(3).split("e");
    const short = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
    if (power < -4 || power >= 4) return `${short(digits)}e${power[0]}${power.slice(1).padStart(2, "0")}`;
    return short(Number(`${digits}e${power}`).toFixed(3 - power));
  }

  const extend = (char) => char >= "\u0300" && EXTENDS.test(char);

  // A range of code points extended to whole characters with their combining characters, and to at least one character.
  function wholeCharacters(points, start, end) {
    end = Math.max(end, Math.min(start + 1, points.length));
    const first = Math.max(0, start - LONGEST_CHARACTER);
    const last = Math.min(points.length, end + LONGEST_CHARACTER);
    while (first < start && start < points.length && extend(points[start])) start--;
    while (end < last && (extend(points[end]) || points[end - 1] === "\u200d")) end++;
    return [start, end];
  }

  // Start and end of the characters of a token; tokens with the same end share a character.
  function unit(ends, position) {
    let first = position;
    while (first && ends[first - 1] === ends[position]) first--;
    return [first ? ends[first - 1] : 0, ends[position]];
  }

  // The characters of each active token, in order and without overlap: [start, end, activation].
  function spans(points, ends, active) {
    const found = [];
    for (const [position, value] of active) {
      const [start, end] = wholeCharacters(points, ...unit(ends, position));
      const before = found.at(-1);
      if (before && start < before[1]) found[found.length - 1] = [before[0], Math.max(end, before[1]), Math.max(value, before[2])];
      else found.push([start, end, value]);
    }
    return found;
  }

  // The end of each token in code points.
  function inPoints(points, ends) {
    let at = 0;
    let length = 0;
    return Array.from(ends, (end) => {
      while (length < end) length += points[at++].length;
      return at;
    });
  }

  // The nodes of a text, or of its tokens from the first up to the last of `window`, with a mark for each active token.
  function highlighted(text, ends, active, largest, { window, peak = -1 } = {}) {
    const points = [...text];
    const places = inPoints(points, ends);
    const [first, last] = window ?? [0, places.length];
    const stop = last ? places[last - 1] : 0;
    const shown = (start, end) => visible(points.slice(start, end).join(""));
    const nodes = [];
    let at = first ? places[first - 1] : 0;
    for (const [from, to, value] of spans(points, places, active)) {
      const [start, end] = [Math.max(from, at), Math.min(to, stop)];
      if (start >= end) continue;
      const isPeak = peak >= 0 && from < places[peak] && places[peak] <= to;
      const mark = Object.assign(made("b", `a${level(value, largest)}${isPeak ? " p" : ""}`, ""), { title: fourDigits(value) });
      mark.append(...shown(start, end));
      nodes.push(...shown(at, start), mark);
      at = end;
    }
    return [...nodes, ...shown(at, stop)];
  }

  return {
    level,
    highlight: (element, ...given) => element.replaceChildren(...highlighted(...given)),
    show: (element, text) => element.replaceChildren(...visible(text)),
    token: (element, text) => element.replaceChildren(...visible(text, SPECIAL_OR_SPACE)),
  };
})();
