// Formats numbers for readers with the same functions as site/formats.py, so that a table looks the same with and
// without JavaScript.
window.saeFormats = (() => {
  const minus = (text) => text.replace("-", "\u2212");

  // toFixed rounds a half away from zero, Python to the even digit.
  function fixed(value, places) {
    const text = value.toFixed(places);
    const isHalf = /^50*$/.test(Math.abs(value).toFixed(60).split(".")[1].slice(places));
    const isOdd = Number(text.at(-1)) % 2 === 1;
    return isHalf && isOdd ? (value - Math.sign(value) * 0.1 ** (places + 1)).toFixed(places) : text;
  }

  function power(value) {
    const [mantissa, exponent] = value.toExponential(2).split("e");
    const raised = exponent.replace("+", "").replace(/./g, (sign) => sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign]);
    return minus(`${mantissa}\u202f×\u202f10${raised}`);
  }

  function number(value) {
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size < 1e-3 || size >= 1e6) return power(value);
    const whole = size >= 1 ? String(Math.trunc(size)).length : 0;
    return minus(grouped(fixed(value, Math.max(0, 3 - whole))));
  }

  const grouped = (text) => text.replace(/\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));

  function percent(share) {
    const value = 100 * share;
    const places = Math.abs(value) >= 10 || value === 0 ? 0 : Math.min(5, 1 - Math.floor(Math.log10(Math.abs(value))));
    return minus(`${fixed(value, places)}\u00a0%`);
  }

  const count = (value) => minus(grouped(String(value)));
  const orNone = (format) => (value) => value === null ? "–" : format(value);
  return { plain: String, count: orNone(count), number: orNone(number), percent: orNone(percent) };
})();
