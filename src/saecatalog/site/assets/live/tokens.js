// Splits a typed text into the model's tokens: the settings that live/tokenizer.py writes and a text flow in, ids and ends
// flow out. It follows the `tokenizers` library step by step, so that ids and ends are those of the catalog.
//   const { encode } = saeTokens(settings);
//   const { text, ids, ends, cut } = encode("typed text", 128);
// `text` is what was split: half characters are U+FFFD, and it is composed (NFC) where the model wants it. `ends` has the
// end of each token in it; tokens with equal ends share a character. At most `most` tokens are made, which are those of the
// whole text; then `text` ends with the last of them, and `cut` is the length of what was left out.
(() => {
  const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  const between = (from, to) => `\\u{${from.toString(16)}}-\\u{${to.toString(16)}}`;

  // The ranges of a class, for use between brackets.
  function ranges(steps) {
    let at = 0;
    let out = "";
    for (let i = 0; i < steps.length; i += 2) {
      const from = at + steps[i];
      at = from + steps[i + 1];
      out += between(from, at - 1);
    }
    return out;
  }

  // The rank of the merge of two tokens, or -1: a hash table in one array.
  function rankTable(left, right) {
    const mask = 2 ** Math.ceil(Math.log2(2 * left.length + 2)) - 1;
    const slots = new Int32Array(mask + 1).fill(-1);
    const start = (a, b) => ((Math.imul(a, 0x9e3779b1) + Math.imul(b, 0x85ebca6b)) >>> 5) & mask;
    for (let rank = 0; rank < left.length; rank++) {
      let at = start(left[rank], right[rank]);
      while (slots[at] >= 0) at = (at + 1) & mask;
      slots[at] = rank;
    }
    return (a, b) => {
      let at = start(a, b);
      while (slots[at] >= 0 && (left[slots[at]] !== a || right[slots[at]] !== b)) at = (at + 1) & mask;
      return slots[at];
    };
  }

  // A heap of numbers, the least first.
  function push(heap, key) {
    let at = heap.push(key) - 1;
    while (at) {
      const above = (at - 1) >> 1;
      if (heap[above] <= key) break;
      heap[at] = heap[above];
      at = above;
    }
    heap[at] = key;
  }

  function pop(heap) {
    const least = heap[0];
    const key = heap.pop();
    const size = heap.length;
    if (!size) return least;
    let at = 0;
    for (let below = 1; below < size; below = 2 * at + 1) {
      if (below + 1 < size && heap[below + 1] < heap[below]) below++;
      if (heap[below] >= key) break;
      heap[at] = heap[below];
      at = below;
    }
    heap[at] = key;
    return least;
  }

  // Merges the symbols of a piece in place: the merge of the lowest rank first, the leftmost of equal ones. A symbol that
  // went into the one before it is left with length 0.
  const PLACES = 2 ** 30;
  function merge(ids, lengths, rankOf, made) {
    const size = ids.length;
    const next = new Int32Array(size);
    const before = new Int32Array(size);
    for (let at = 0; at < size; at++) [next[at], before[at]] = [at + 1, at - 1];
    const heap = [];
    const add = (at) => {
      if (at < 0 || next[at] >= size) return;
      const rank = rankOf(ids[at], ids[next[at]]);
      if (rank >= 0) push(heap, rank * PLACES + at);
    };
    for (let at = 0; at < size; at++) add(at);
    while (heap.length) {
      const key = pop(heap);
      const rank = Math.floor(key / PLACES);
      const at = key % PLACES;
      const to = next[at];
      if (!lengths[at] || to >= size) continue;
      const now = rankOf(ids[at], ids[to]);
      if (now < 0 || made[now] !== made[rank]) continue;
      ids[at] = made[rank];
      lengths[at] += lengths[to];
      lengths[to] = 0;
      next[at] = next[to];
      if (next[to] < size) before[next[to]] = at;
      add(before[at]);
      add(at);
    }
  }

  const utf8Length = (code) => (code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);
  // Byte-level tokenizers write each byte as a character: itself if it is printable ASCII, otherwise one of two bytes.
  const writtenLength = (byte) => (byte > 0x20 && byte < 0x7f ? 1 : 2);

  globalThis.saeTokens = (settings) => {
    const { bytes, fallback, unknown, space, mark } = settings;
    const whole = new Map(Object.entries(settings.whole));
    const symbols = new Map([...settings.characters].map((char, i) => [char, settings.character_ids[i]]));
    const left = Int32Array.from(settings.left);
    const right = Int32Array.from(settings.right);
    let id = 0;
    const made = Int32Array.from(settings.made, (step) => (id += step));
    const rankOf = rankTable(left, right);
    const splits = settings.splits.map((source) => new RegExp(source.replace(/\\p\{(\w+)\}/g, (_, name) => ranges(settings.classes[name])), "gu"));
    const utf8 = new TextEncoder();

    // Every second piece is a character that stays as it is.
    const young = settings.nfc && new RegExp(`([${settings.nfc}])`, "u");
    const compose = (text) => text.split(young).map((piece, i) => (i % 2 ? piece : piece.normalize("NFC"))).join("");

    // The longest of the added tokens that begin at a place is found.
    function finder(tokens) {
      const names = tokens.map(([content]) => content).sort((a, b) => b.length - a.length);
      return { pattern: new RegExp(names.map(escaped).join("|") || "(?!)", "gu"), ids: new Map(tokens) };
    }
    const [added, later] = [finder(settings.added), finder(settings.later)];

    // The added tokens in a text, as {text, id}, and what is between them, as {text}.
    function* parts(text, { pattern, ids }) {
      let from = 0;
      for (const found of text.matchAll(pattern)) {
        const id = ids.get(found[0]);
        if (id < 0) continue;
        if (found.index > from) yield { text: text.slice(from, found.index) };
        yield { text: found[0], id };
        from = found.index + found[0].length;
      }
      if (from < text.length) yield { text: text.slice(from) };
    }

    // The matches of the patterns in a text, and what is between them: [start, text] each.
    function* pieces(text, start = 0, step = 0) {
      if (step === splits.length) {
        yield [start, text];
        return;
      }
      let from = 0;
      for (const found of text.matchAll(splits[step])) {
        if (found.index > from) yield* pieces(text.slice(from, found.index), start + from, step + 1);
        from = found.index + found[0].length;
        if (found[0]) yield* pieces(found[0], start + found.index, step + 1);
      }
      if (from < text.length) yield* pieces(text.slice(from), start + from, step + 1);
    }

    // The symbols of a piece: ids, lengths, and for each unit of length the place in the piece where its character ends.
    function symbolsOf(piece) {
      const found = { ids: [], lengths: [], ends: [] };
      let open = false; // whether the last symbol is unknown
      const put = (id, length) => {
        if (id < 0 && unknown < 0) return;
        if (id < 0 && open && settings.fuse) found.lengths[found.lengths.length - 1] += length;
        else {
          found.ids.push(id < 0 ? unknown : id);
          found.lengths.push(length);
        }
        open = id < 0;
      };
      let end = 0;
      if (bytes) {
        for (const byte of utf8.encode(piece)) {
          // The first byte of a character tells its length.
          if (byte < 0x80 || byte >= 0xc0) end += byte < 0xf0 ? 1 : 2;
          const length = writtenLength(byte);
          for (let i = length; i; i--) found.ends.push(end);
          put(bytes[byte], length);
        }
        return found;
      }
      for (const char of piece) {
        end += char.length;
        const length = utf8Length(char.codePointAt(0));
        for (let i = length; i; i--) found.ends.push(end);
        const id = symbols.get(char) ?? -1;
        if (id < 0 && fallback) for (const byte of utf8.encode(char)) put(fallback[byte], 1);
        else put(id, length);
      }
      return found;
    }

    // Calls `put` with the id of each token of a piece and the place in it where the token ends, until it returns true.
    function encodePiece(piece, put) {
      if (whole.has(piece)) return put(whole.get(piece), piece.length);
      const { ids, lengths, ends } = symbolsOf(piece);
      merge(ids, lengths, rankOf, made);
      let length = 0;
      return ids.some((id, i) => lengths[i] > 0 && ((length += lengths[i]), put(id, ends[length - 1])));
    }

    // A part of the text with the mark that the tokenizer puts before it.
    function marked(text, start) {
      if (!mark || (mark.when === "first" && start) || (!mark.even_if_there && text.startsWith(mark.text))) return text;
      return mark.text + text;
    }

    const spaced = (part) => (space && part.id === undefined ? { text: part.text.replaceAll(" ", space) } : part);
    const composed = (part) => (settings.nfc && part.id === undefined ? { text: compose(part.text) } : part);

    // Calls `put` as encodePiece does, until it says that there are enough; returns whether it did.
    function encodePart(part, start, put) {
      if (part.id !== undefined) return put(part.id, part.text.length);
      const given = marked(part.text, start);
      const extra = given.length - part.text.length;
      // A mark shares the first character.
      const firstEnd = String.fromCodePoint(part.text.codePointAt(0)).length;
      for (const [at, piece] of pieces(given)) {
        if (encodePiece(piece, (id, end) => put(id, Math.max(firstEnd, at + end - extra)))) return true;
      }
      return false;
    }

    function encode(typed, most = Infinity) {
      const first = [...parts(typed.replace(/\p{Surrogate}/gu, "\ufffd"), added)].map(composed);
      const text = first.map((part) => part.text).join("");
      const [ids, ends] = [[], []];
      let start = 0;
      // One more token than wanted tells that the text goes on.
      const put = (id, end) => {
        ends.push(Math.max(start + end, ends.at(-1) ?? 0));
        return ids.push(id) > most;
      };
      const full = first.some((part) => {
        const small = part.id === undefined ? [...parts(spaced(part).text, later)] : [part];
        return small.some((part) => encodePart(part, start, put) || ((start += part.text.length), false));
      });
      if (!full && ends.length) ends[ends.length - 1] = text.length;
      const kept = full ? text.slice(0, ends[most - 1] ?? 0) : text;
      return {
        text: kept,
        ids: Int32Array.from(full ? ids.slice(0, most) : ids),
        ends: Int32Array.from(full ? ends.slice(0, most) : ends),
        cut: text.length - kept.length,
      };
    }
    return { encode };
  };
})();
