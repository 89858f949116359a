/* The arithmetic of the live part, in WebAssembly with SIMD: what a step of a program does with its numbers.

   Everything is in the module's own memory, which the caller fills: addresses are offsets in it. The caller checks
   that every array lies inside what it has reserved (see `engine.py` and `engine.js`). Matrices are row by row; weights
   are packed (see `packing.py`) and at addresses divisible by 16. Sums are in single precision. Nothing is allocated,
   and nothing is kept between calls. */

#include <math.h>
#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name)))

/* Packings; the numbers are those of `packing.py`. */
enum { F32 = 0, F16 = 1, BF16 = 2, Q8_0 = 3, Q4_1 = 4 };
enum { BLOCK = 32 };

/* Rows of weights that are unpacked at once and multiplied with every token. */
enum { ROWS = 4 };

static inline float half(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, rest = bits & 0x7fff;
    union { uint32_t u; float f; } value;
    if (rest >= 0x7c00) {
        value.u = sign | 0x7f800000 | (rest & 0x3ff) << 13;
    } else {
        /* A power of two moves the exponent, and makes small numbers right that are stored without a leading 1. */
        value.u = rest << 13;
        value.f *= 0x1p112f;
        value.u |= sign;
    }
    return value.f;
}

/* Four half-precision numbers; finite ones only, as weights are. */
static inline v128_t halves(v128_t bits) {
    v128_t sign = wasm_i32x4_shl(wasm_v128_and(bits, wasm_i32x4_splat(0x8000)), 16);
    v128_t rest = wasm_i32x4_shl(wasm_v128_and(bits, wasm_i32x4_splat(0x7fff)), 13);
    return wasm_v128_or(wasm_f32x4_mul(rest, wasm_f32x4_splat(0x1p112f)), sign);
}

static inline void spread(v128_t bytes, float scale, float low, float *to, int is_signed) {
    v128_t s = wasm_f32x4_splat(scale), l = wasm_f32x4_splat(low);
    v128_t first = is_signed ? wasm_i16x8_extend_low_i8x16(bytes) : wasm_u16x8_extend_low_u8x16(bytes);
    v128_t last = is_signed ? wasm_i16x8_extend_high_i8x16(bytes) : wasm_u16x8_extend_high_u8x16(bytes);
    v128_t parts[4] = {wasm_i32x4_extend_low_i16x8(first), wasm_i32x4_extend_high_i16x8(first),
                       wasm_i32x4_extend_low_i16x8(last), wasm_i32x4_extend_high_i16x8(last)};
    for (int i = 0; i < 4; i++)
        wasm_v128_store(to + 4 * i, wasm_f32x4_add(wasm_f32x4_mul(wasm_f32x4_convert_i32x4(parts[i]), s), l));
}

static int block_bytes(int packing) {
    static const int bytes[] = {4 * BLOCK, 2 * BLOCK, 2 * BLOCK, 34, 20};
    return bytes[packing];
}

static void unpack_block(int packing, const uint8_t *from, float *to) {
    const uint16_t *shorts = (const uint16_t *)from;
    switch (packing) {
    case F32:
        for (int i = 0; i < BLOCK; i += 4) wasm_v128_store(to + i, wasm_v128_load((const float *)from + i));
        break;
    case F16:
        for (int i = 0; i < BLOCK; i += 4) wasm_v128_store(to + i, halves(wasm_u32x4_load16x4(shorts + i)));
        break;
    case BF16:
        for (int i = 0; i < BLOCK; i += 4)
            wasm_v128_store(to + i, wasm_i32x4_shl(wasm_u32x4_load16x4(shorts + i), 16));
        break;
    case Q8_0:
        spread(wasm_v128_load(from + 2), half(*shorts), 0, to, 1);
        spread(wasm_v128_load(from + 18), half(*shorts), 0, to + 16, 1);
        break;
    case Q4_1: {
        v128_t pairs = wasm_v128_load(from + 4);
        spread(wasm_v128_and(pairs, wasm_i8x16_splat(15)), half(shorts[0]), half(shorts[1]), to, 0);
        spread(wasm_u8x16_shr(pairs, 4), half(shorts[0]), half(shorts[1]), to + 16, 0);
    }
    }
}

/* Rows of packed numbers, one after another. `to` has room for whole blocks in each row. */
EXPORT(unpack) void unpack(int packing, const uint8_t *from, float *to, int rows, int blocks) {
    for (int block = 0; block < rows * blocks; block++, from += block_bytes(packing), to += BLOCK)
        unpack_block(packing, from, to);
}

static inline float total(v128_t v) {
    return (wasm_f32x4_extract_lane(v, 0) + wasm_f32x4_extract_lane(v, 1)) +
           (wasm_f32x4_extract_lane(v, 2) + wasm_f32x4_extract_lane(v, 3));
}

/* Products of ROWS rows of weights with `n` tokens (1 to 3); a compiler that knows `n` keeps all sums in registers. */
static inline __attribute__((always_inline)) void tile(const float *x, int stride, const float *rows, int row_stride,
                                                       int width, int n, float *to, int to_stride) {
    v128_t sums[ROWS][3];
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < n; t++) sums[r][t] = wasm_f32x4_splat(0);
    for (int i = 0; i < width; i += 4) {
        v128_t tokens[3];
        for (int t = 0; t < n; t++) tokens[t] = wasm_v128_load(x + t * stride + i);
        for (int r = 0; r < ROWS; r++) {
            v128_t row = wasm_v128_load(rows + r * row_stride + i);
            for (int t = 0; t < n; t++) sums[r][t] = wasm_f32x4_add(sums[r][t], wasm_f32x4_mul(row, tokens[t]));
        }
    }
    for (int t = 0; t < n; t++)
        for (int r = 0; r < ROWS; r++) to[t * to_stride + r] = total(sums[r][t]);
}

/* `to` = `x` times some packed rows of weights, plus a bias: `x` is [tokens, stride], whose rows are followed by zeros
   up to a whole block; `to` is [tokens, to_stride]. `bias` may be 0. `rows` is divisible by ROWS. `scratch` has room
   for ROWS unpacked rows. */
EXPORT(linear) void linear(const float *x, int tokens, int stride, int packing, const uint8_t *weights, int blocks,
                           int rows, const float *bias, float *to, int to_stride, float *scratch) {
    int width = blocks * BLOCK;
    for (int r = 0; r < rows; r += ROWS) {
        unpack(packing, weights + r * blocks * block_bytes(packing), scratch, ROWS, blocks);
        int t = 0;
        for (; t + 3 <= tokens; t += 3)
            tile(x + t * stride, stride, scratch, width, width, 3, to + t * to_stride + r, to_stride);
        if (tokens - t == 2) tile(x + t * stride, stride, scratch, width, width, 2, to + t * to_stride + r, to_stride);
        if (tokens - t == 1) tile(x + t * stride, stride, scratch, width, width, 1, to + t * to_stride + r, to_stride);
        if (bias)
            for (t = 0; t < tokens; t++)
                for (int i = r; i < r + ROWS; i++) to[t * to_stride + i] += bias[i];
    }
}

enum { RMS = 0, LAYER = 1, DEVIATION = 2 };

/* Normalise each part of each row; `weight` and `bias` may be 0. */
EXPORT(norm) void norm(const float *from, float *to, int tokens, int stride, int to_stride, int parts, int width,
                       int kind, const float *weight, const float *bias, float eps) {
    for (int t = 0; t < tokens; t++)
        for (int p = 0; p < parts; p++) {
            const float *x = from + t * stride + p * width;
            float *y = to + t * to_stride + p * width;
            double sum = 0, squares = 0;
            for (int i = 0; i < width; i++) sum += x[i];
            float mean = kind == RMS ? 0 : (float)(sum / width);
            for (int i = 0; i < width; i++) squares += (double)(x[i] - mean) * (x[i] - mean);
            double root = kind == DEVIATION ? sqrt(squares / (width - 1)) + eps : sqrt(squares / width + eps);
            float factor = (float)(1 / root);
            for (int i = 0; i < width; i++) {
                float value = (x[i] - mean) * factor;
                y[i] = (weight ? value * weight[i] : value) + (bias ? bias[i] : 0);
            }
        }
}

/* Rotate `pairs` pairs of numbers of each head by the angles of the token's position. */
EXPORT(rotate) void rotate(float *x, int tokens, int stride, int heads, int width, int pairs, const float *cosines,
                           const float *sines, int neighbours) {
    for (int t = 0; t < tokens; t++)
        for (int h = 0; h < heads; h++) {
            float *head = x + t * stride + h * width;
            for (int i = 0; i < pairs; i++) {
                float *a = head + (neighbours ? 2 * i : i), *b = neighbours ? a + 1 : a + pairs;
                float c = cosines[t * pairs + i], s = sines[t * pairs + i], first = *a;
                *a = first * c - *b * s;
                *b = *b * c + first * s;
            }
        }
}

static float dot(const float *a, const float *b, int width) {
    v128_t sums = wasm_f32x4_splat(0);
    int i = 0;
    for (; i + 4 <= width; i += 4)
        sums = wasm_f32x4_add(sums, wasm_f32x4_mul(wasm_v128_load(a + i), wasm_v128_load(b + i)));
    float sum = total(sums);
    for (; i < width; i++) sum += a[i] * b[i];
    return sum;
}

static void add_scaled(float *to, const float *from, float factor, int width) {
    int i = 0;
    for (; i + 4 <= width; i += 4)
        wasm_v128_store(to + i, wasm_f32x4_add(wasm_v128_load(to + i),
                                               wasm_f32x4_mul(wasm_v128_load(from + i), wasm_f32x4_splat(factor))));
    for (; i < width; i++) to[i] += factor * from[i];
}

/* Attention of the tokens `first` up to `last`, each to itself and those before it; with `window`, to so many at most.
   With `cap`, scores are cap * tanh(score / cap). `scratch` has room for a number of each token. */
EXPORT(attention) void attention(const float *q, int q_stride, const float *k, int k_stride, const float *v,
                                 int v_stride, float *to, int to_stride, int first, int last, int heads, int kv_heads, int width, int v_width,
                                 float scale, float cap, int window, float *scratch) {
    for (int t = first; t < last; t++) {
        int start = window && t >= window ? t - window + 1 : 0;
        for (int h = 0; h < heads; h++) {
            int kv = h / (heads / kv_heads);
            const float *query = q + t * q_stride + h * width;
            float *out = to + t * to_stride + h * v_width, largest = -INFINITY, sum = 0;
            for (int s = start; s <= t; s++) {
                float score = dot(query, k + s * k_stride + kv * width, width) * scale;
                scratch[s] = cap > 0 ? cap * tanhf(score / cap) : score;
                if (scratch[s] > largest) largest = scratch[s];
            }
            for (int s = start; s <= t; s++) sum += scratch[s] = expf(scratch[s] - largest);
            for (int i = 0; i < v_width; i++) out[i] = 0;
            for (int s = start; s <= t; s++) add_scaled(out, v + s * v_stride + kv * v_width, scratch[s] / sum, v_width);
        }
    }
}

enum { RELU = 0, SILU = 1, GELU = 2, GELU_TANH = 3 };

EXPORT(act) void act(float *x, int n, int kind) {
    for (int i = 0; i < n; i++) {
        float value = x[i];
        switch (kind) {
        case RELU: x[i] = value > 0 ? value : 0; break;
        case SILU: x[i] = value / (1 + expf(-value)); break;
        case GELU: x[i] = 0.5f * value * (1 + erff(value * 0.70710678118654752f)); break;
        case GELU_TANH: {
            float inner = 0.79788456080286536f * (value + 0.044715f * value * value * value);
            x[i] = 0.5f * value * (1 + tanhf(inner));
        }
        }
    }
}

EXPORT(multiply) void multiply(float *x, const float *by, int n) {
    for (int i = 0; i < n; i++) x[i] *= by[i];
}

EXPORT(add) void add(float *x, const float *by, int n) {
    for (int i = 0; i < n; i++) x[i] += by[i];
}

EXPORT(scale_to) void scale_to(const float *from, float *to, float by, int n) {
    for (int i = 0; i < n; i++) to[i] = from[i] * by;
}

/* Add one row to every token's. */
EXPORT(shift) void shift(float *x, int tokens, int stride, const float *by, int width) {
    for (int t = 0; t < tokens; t++)
        for (int i = 0; i < width; i++) x[t * stride + i] += by[i];
}

/* The Euclidean norm of each token's row. */
EXPORT(norms) void norms(const float *x, float *to, int tokens, int stride, int width) {
    for (int t = 0; t < tokens; t++) {
        double squares = 0;
        for (int i = 0; i < width; i++) squares += (double)x[t * stride + i] * x[t * stride + i];
        to[t] = (float)sqrt(squares);
    }
}

/* The features that fire, of `features` ones: those whose number `x` is above 0 and above its `threshold` (may be 0).
   For a gated SAE, `gate` is above 0 instead, and the activation is x * factor + bias, if that is above 0. Writes the
   token, the feature (counted from `first`) and the activation of each firing, and returns how many there are. */
EXPORT(select) int select_firings(const float *x, int tokens, int stride, int features, int first,
                                  const float *threshold, const float *gate_bias, const float *factor,
                                  const float *bias, int *to_token, int *to_feature, float *to_value) {
    int found = 0;
    for (int t = 0; t < tokens; t++)
        for (int f = 0; f < features; f++) {
            float value = x[t * stride + f];
            if (gate_bias) value = value + gate_bias[f] > 0 ? value * factor[f] + bias[f] : 0;
            if (value > 0 && (!threshold || value > threshold[f])) {
                to_token[found] = t;
                to_feature[found] = first + f;
                to_value[found++] = value;
            }
        }
    return found;
}
