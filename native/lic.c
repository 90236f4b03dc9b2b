/* The decoder: docs/bitstream.md as C99. Read lic.h first.

   The order of this file is the order of decoding: bytes, exact arithmetic, coding tables, the range decoder, the
   prior's networks, the synthesis. All that decides a symbol is exact on every machine: float32 sums of whole multiples
   of powers of two, and float64 in operations that are never contracted (compile with -ffp-contract=off). */
#ifndef LIC_KERNELS

#include "lic.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "float64 must be exact: compile with -msse2 -mfpmath=sse"
#endif
#if defined(__FAST_MATH__)
#error "float64 must be exact: compile without -ffast-math"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#if defined(__GNUC__) && (defined(__clang__) || __GNUC__ >= 9)
#define LIC_VECTORS /* vectors as an extension of the language; without them, loops over single numbers */
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#endif

/* A term of a sum of matrix rows: value times row. */
struct term {
  uint32_t row;
  float value;
};

/* ---- The hot loops, compiled for several instruction sets (at the end of this file) ---- */

/* Numbers of the grid (lic_jax/entropy/priors/grid.py), and the activations of both kinds of networks. */
enum activation { GRID_HIDDEN, GRID_LAST, INTEGER_HIDDEN, INTEGER_LAST };

struct kernels {
  /* sum[0 .. width) += the terms' rows of a matrix; width is a multiple of LANES. */
  void (*add_rows)(float *sum, int width, const float *matrix, size_t stride, const struct term *terms, int count);
  /* Lists the values that are not zero, from row `first` on; returns how many there are. */
  int (*collect)(const float *values, int count, uint32_t first, struct term *terms);
  /* Applies an activation to sums; bias and scale are NULL where there is none. */
  void (*activate)(enum activation kind, float *values, const float *bias, const float *scale, int count);
  /* Means and scale indexes of the context prior, from (mu, s) and the sums of their changes. */
  void (*means)(float *means, const float *before, const float *change, int count);
  void (*indexes)(float *indexes, const float *before, const float *change, int count);
  /* values[j] * (beta + gamma |values|), bounded below, for `count` positions of `channels`. */
  void (*normalize)(float *values, int count, int channels, const float *bias, const float *beta, const float *gamma,
                    float least);
  /* sums[6][width] of one row of output pixels, for the two columns and three colours of each position. */
  void (*image_row)(float *sums, int width, const float *const *rows, const float *const *kernels, int count,
                    int channels, int halo, size_t row_stride);
  /* Converts values of the image, without bias, to whole numbers from 0 to 255. */
  void (*to_bytes)(float *values, int count, float bias);
};

static const struct kernels *kernels_of_this_machine(void);

#define LANES 16 /* rows of matrices are padded to a multiple of this many floats */
#define PADDED(count) (((size_t)(count) + LANES - 1) / LANES * LANES)

/* ---- Memory: one block, handed out from its start ---- */

struct arena {
  uint8_t *base; /* NULL only counts */
  size_t used, capacity;
};

/* Once more was asked for than a size can say, it stays full. */
static void *take(struct arena *arena, size_t count, size_t size) {
  size_t start;
  if (arena->used > SIZE_MAX - 63) return NULL;
  start = (arena->used + 63) / 64 * 64;
  if (size && count > (SIZE_MAX - start) / size) {
    arena->used = SIZE_MAX;
    return NULL;
  }
  arena->used = start + count * size;
  return arena->base && arena->used <= arena->capacity ? arena->base + start : NULL;
}

#define TAKE(arena, type, count) ((type *)take(arena, (size_t)(count), sizeof(type)))

static int fits(const struct arena *arena) {
  return arena->base && arena->used <= arena->capacity && arena->used != SIZE_MAX;
}

/* ---- Bytes ---- */

static uint32_t get16(const uint8_t *at) { return at[0] | (uint32_t)at[1] << 8; }
static uint32_t get32(const uint8_t *at) { return get16(at) | get16(at + 2) << 16; }

static uint32_t crc32_of(uint32_t crc, const uint8_t *bytes, size_t size) {
  static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                     0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                     0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
  crc = ~crc;
  while (size--) {
    crc ^= *bytes++;
    crc = crc >> 4 ^ table[crc & 15];
    crc = crc >> 4 ^ table[crc & 15];
  }
  return ~crc;
}

static float half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023, bits;
  float value;
  if (exponent == 0) return (sign ? -1.0f : 1.0f) * (float)fraction * 5.9604644775390625e-8f; /* 2^-24 */
  bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
  memcpy(&value, &bits, 4);
  return value;
}

/* ---- A model ---- */

enum { HYPERPRIOR, CONTEXT, FACTORIZED };
enum { STANDARD, JPEG_LIKE_HYPER };
enum { JPEG_LIKE, TWO_LAYER, TWO_LAYER_GAIN, TWO_LAYER_RESIDUAL };

enum {
  SCALES = 64,
  LATENT_STRIDE = 16,
  HYPER_STRIDE = 64,
  STAGES = 7,
  MOST_CHANNELS = 2048,
  MOST_COMPONENTS = 8192,
  MOST_KERNEL = 64,
  MOST_HIDDEN = 256, /* units of a hidden layer of the synthesis or of a stage */
  WINDOW = 3,
  MOST_LAYERS = 3,
  MODEL_HEADER = 128,
  STREAM_HEADER = 31
};

/* The integer quantizers of all rates, [rates][...] each. */
struct quantizers {
  int components, rows;
  const int32_t *spacings, *thresholds, *centres, *dead_zones, *reconstructions;
};

/* The densities of the channels of a latent: three layers of widths 1, 3, 3, 1. */
struct densities {
  int channels;
  const float *matrix[3], *bias[3], *factor[2];
};

/* A transposed convolution; kernel[p][in] is a row of the taps q and outputs, padded: what one input adds to one row. */
struct transposed {
  int inputs, outputs, size, stride;
  size_t run; /* floats of a kernel's row, padded */
  const float *kernel, *bias, *scale;
};

/* A stage of the context prior; matrices have padded rows. */
struct stage {
  int first, last, passes, number, known, known_low, means;
  const float *features, *bias, *near, *out, *out_bias, *linear;
};

struct lic_model {
  uint8_t fingerprint[4];
  int prior, hyper_channels, channels, means, log_index, synthesis, hidden, rates, midpoints, width;
  int hyper_layers, features;
  struct quantizers latent, hyper;
  struct densities densities; /* of the hyper latent, or of the latent with a factorized prior */
  const float *input_scale, *log_index_thresholds;
  struct transposed hyper_layer[MOST_LAYERS], first, beside, last;
  const float *beta, *gamma;     /* of the inverse GDN or the gain, gamma with padded rows */
  const float *image_kernel;     /* of the last layer, [size][2 halo + 1][hidden][8] */
  int halo;                      /* positions on either side that a pixel depends on, in the last layer */
  struct stage stages[STAGES];
  uint32_t *hyper_tables;        /* of rate 0, [channels][components + 2] */
  int hyper_tables_are_for_all;
};

/* Reads the arrays of a receiver file into floats or integers of the arena. */
struct reader {
  const uint8_t *at, *end;
  struct arena *arena;
  int status;
};

enum { FLOAT32, FLOAT16, INT8, INT32 };

static const uint8_t *array_bytes(struct reader *reader, size_t count, uint32_t *type) {
  static const uint8_t sizes[] = {4, 2, 1, 4};
  const uint8_t *bytes;
  size_t size;
  if (reader->status || (size_t)(reader->end - reader->at) < 8) goto bad;
  *type = get32(reader->at);
  if (*type > INT32 || get32(reader->at + 4) != count) goto bad;
  bytes = reader->at + 8;
  if (count > (size_t)(reader->end - bytes) / sizes[*type]) goto bad;
  size = count * sizes[*type];
  if ((size_t)(reader->end - bytes) < (size + 3) / 4 * 4) goto bad;
  reader->at = bytes + (size + 3) / 4 * 4;
  return bytes;
bad:
  reader->status = LIC_BAD_MODEL;
  return NULL;
}

static float number_at(const uint8_t *bytes, uint32_t type, size_t index) {
  uint32_t bits;
  float value;
  if (type == INT8) return (float)(int8_t)bytes[index];
  if (type == FLOAT16) {
    value = half_to_float((uint16_t)get16(bytes + 2 * index));
  } else {
    bits = get32(bytes + 4 * index);
    memcpy(&value, &bits, 4);
  }
  return value - value == 0 ? value : 0; /* nothing infinite or undefined */
}

/* Reads [rows][columns] floats; rows are padded with zeros if asked for. */
static const float *read_floats(struct reader *reader, size_t rows, size_t columns, int pad) {
  uint32_t type;
  size_t row, column, stride = pad ? PADDED(columns) : columns;
  const uint8_t *bytes = array_bytes(reader, rows * columns, &type);
  float *values = bytes ? TAKE(reader->arena, float, rows * stride) : NULL;
  if (!values) return NULL;
  for (row = 0; row < rows; row++)
    for (column = 0; column < stride; column++)
      values[row * stride + column] = column < columns ? number_at(bytes, type, row * columns + column) : 0;
  return values;
}

static const int32_t *read_integers(struct reader *reader, size_t count) {
  uint32_t type;
  size_t index;
  const uint8_t *bytes = array_bytes(reader, count, &type);
  int32_t *values;
  if (bytes && type != INT32) reader->status = LIC_BAD_MODEL;
  values = bytes && !reader->status ? TAKE(reader->arena, int32_t, count) : NULL;
  for (index = 0; values && index < count; index++) values[index] = (int32_t)get32(bytes + 4 * index);
  return values;
}

/* Reads a kernel [size][size][outputs][inputs] as rows [size][inputs][size * outputs], padded. */
static const float *read_kernel(struct reader *reader, struct transposed *layer) {
  uint32_t type;
  size_t size = (size_t)layer->size, outputs = (size_t)layer->outputs, inputs = (size_t)layer->inputs, p, q, out, in;
  const uint8_t *bytes = array_bytes(reader, size * size * outputs * inputs, &type);
  float *rows;
  layer->run = PADDED(size * outputs);
  rows = bytes ? TAKE(reader->arena, float, size * inputs * layer->run) : NULL;
  if (!rows) return NULL;
  memset(rows, 0, size * inputs * layer->run * sizeof *rows);
  for (p = 0; p < size; p++)
    for (q = 0; q < size; q++)
      for (out = 0; out < outputs; out++)
        for (in = 0; in < inputs; in++)
          rows[(p * inputs + in) * layer->run + q * outputs + out] =
              number_at(bytes, type, ((p * size + q) * outputs + out) * inputs + in);
  return rows;
}

static void read_quantizers(struct reader *reader, struct quantizers *quantizers, int rates) {
  size_t count = (size_t)rates * (size_t)quantizers->components;
  quantizers->spacings = read_integers(reader, count);
  quantizers->thresholds = read_integers(reader, count);
  quantizers->centres = read_integers(reader, (size_t)rates);
  if (quantizers->rows) {
    quantizers->dead_zones = read_integers(reader, (size_t)rates * (size_t)quantizers->rows);
    quantizers->reconstructions = read_integers(reader, (size_t)rates * (size_t)quantizers->rows);
  }
}

static void read_densities(struct reader *reader, struct densities *densities) {
  static const int widths[] = {1, 3, 3, 1};
  int layer;
  for (layer = 0; layer < 3; layer++) {
    size_t outputs = (size_t)densities->channels * (size_t)widths[layer + 1];
    densities->matrix[layer] = read_floats(reader, outputs, (size_t)widths[layer], 0);
    densities->bias[layer] = read_floats(reader, outputs, 1, 0);
    if (layer < 2) densities->factor[layer] = read_floats(reader, outputs, 1, 0);
  }
}

static void read_layer(struct reader *reader, struct transposed *layer, int inputs, int outputs, int size, int stride) {
  layer->inputs = inputs, layer->outputs = outputs, layer->size = size, layer->stride = stride;
  layer->kernel = read_kernel(reader, layer);
  layer->bias = read_floats(reader, 1, (size_t)outputs, 1);
}

/* The channels of the context prior's first group. */
static int lowest_of(const lic_model *model) {
  int lowest = (int)rint(model->channels / 20.0);
  return lowest > 1 ? lowest : 1;
}

/* The order of the context prior's stages (docs/bitstream.md, Context). */
static void plan_stages(lic_model *model) {
  static const int passes[] = {3, 2, 2};
  int group, pass, count = 0, first = 0, channels = model->channels;
  int ends[3] = {lowest_of(model), model->means, channels};
  for (group = 0; group < 3; first = ends[group++])
    for (pass = 0; pass < passes[group]; pass++) {
      struct stage *stage = &model->stages[count++];
      stage->first = first, stage->last = ends[group], stage->passes = passes[group], stage->number = pass;
      stage->known = pass ? stage->last : first;
      stage->known_low = stage->known < ends[0] ? stage->known : ends[0];
      stage->means = group < 2 ? stage->last - first : 0;
    }
}

static void read_stages(struct reader *reader, lic_model *model) {
  size_t width = (size_t)model->width;
  int index;
  plan_stages(model);
  for (index = 1; index < STAGES; index++) {
    struct stage *stage = &model->stages[index];
    size_t outputs = (size_t)(stage->means + stage->last - stage->first), window = WINDOW * WINDOW;
    stage->features = read_floats(reader, (size_t)model->features, width, 1);
    stage->bias = read_floats(reader, 1, width, 1);
    stage->near = read_floats(reader, window * (size_t)(stage->known_low + stage->known), width, 1);
    stage->out = read_floats(reader, width, outputs, 1);
    stage->out_bias = read_floats(reader, 1, outputs, 1);
    if (stage->means)
      stage->linear = read_floats(reader, window * (size_t)stage->known_low, (size_t)stage->means, 1);
  }
}

/* Lays the last layer's kernel out for image_row: [size][2 halo + 1][channels][8], the 6 sums of a column pair first. */
static void lay_out_image_kernel(struct reader *reader, lic_model *model) {
  const struct transposed *last = &model->last;
  int first_tap = (last->size - 2) / 2, halo = (first_tap + 1) / 2, p, d, in, b, out;
  int after = (last->size - 1 - first_tap) / 2;
  size_t count;
  float *kernel;
  halo = after > halo ? after : halo;
  model->halo = halo;
  count = (size_t)(last->size * (2 * halo + 1) * last->inputs * 8);
  kernel = TAKE(reader->arena, float, count);
  if (!kernel || !last->kernel) return;
  memset(kernel, 0, count * sizeof *kernel);
  for (p = 0; p < last->size; p++)
    for (d = -halo; d <= halo; d++)
      for (in = 0; in < last->inputs; in++)
        for (b = 0; b < 2; b++)
          for (out = 0; out < 3; out++) {
            int q = b + first_tap + 2 * d;
            if (q >= 0 && q < last->size)
              kernel[(((size_t)p * (size_t)(2 * halo + 1) + (size_t)(d + halo)) * (size_t)last->inputs + (size_t)in) *
                         8 + (size_t)(3 * b + out)] =
                  last->kernel[((size_t)p * (size_t)last->inputs + (size_t)in) * last->run + (size_t)(3 * q + out)];
          }
  model->image_kernel = kernel;
}

static void read_synthesis(struct reader *reader, lic_model *model, int size, int last_size) {
  int hidden = model->hidden;
  if (model->synthesis == JPEG_LIKE) {
    read_layer(reader, &model->first, model->channels, 3, size, LATENT_STRIDE);
    return;
  }
  read_layer(reader, &model->first, model->channels, hidden, size, 8);
  model->beta = read_floats(reader, 1, (size_t)hidden, 1);
  model->gamma = read_floats(reader, (size_t)hidden, (size_t)hidden, 1);
  if (model->synthesis == TWO_LAYER_RESIDUAL) read_layer(reader, &model->beside, model->channels, hidden, size, 8);
  read_layer(reader, &model->last, hidden, 3, last_size, 2);
  lay_out_image_kernel(reader, model);
}

static void make_hyper_tables(lic_model *model, struct arena *arena);

/* Reads a receiver file into the arena; with an arena that only counts, the model is not usable. */
static int read_model(const uint8_t *file, size_t size, struct arena *arena, lic_model *model) {
  struct reader reader = {file, file + size, arena, LIC_OK};
  uint32_t field[24];
  int index, hyper_kind, width[2];
  if (size < MODEL_HEADER || memcmp(file, "LICR", 4)) return LIC_BAD_MODEL;
  if (get32(file + 4) != 1) return LIC_VERSION;
  if (get32(file + 8) != size || get32(file + 12) != crc32_of(0, file + 16, size - 16)) return LIC_BAD_MODEL;
  for (index = 0; index < 24; index++) {
    field[index] = get32(file + 20 + 4 * index);
    if (field[index] > 1 << 16) return LIC_BAD_MODEL;
  }
  reader.at = file + MODEL_HEADER;
  memset(model, 0, sizeof *model);
  memcpy(model->fingerprint, file + 16, 4);
  model->prior = (int)field[0], model->hyper_channels = (int)field[1], model->channels = (int)field[2];
  model->means = (int)field[3], hyper_kind = (int)field[4], width[0] = (int)field[5], width[1] = (int)field[6];
  model->log_index = (int)field[7], model->synthesis = (int)field[8], model->hidden = (int)field[9];
  model->rates = (int)field[12], model->latent.components = (int)field[13], model->hyper.components = (int)field[14];
  model->latent.rows = (int)field[15], model->midpoints = (int)field[16], model->width = (int)field[17];
  if (model->prior > FACTORIZED || model->channels < 3 || model->means > model->channels || hyper_kind > 1 ||
      model->synthesis > TWO_LAYER_RESIDUAL || model->rates < 1 || model->latent.components < 1 ||
      model->hyper.components < 1 || field[10] < (model->synthesis == JPEG_LIKE ? LATENT_STRIDE : 8) ||
      (model->latent.rows && model->latent.rows != (model->prior == FACTORIZED ? model->channels : (int)SCALES)) ||
      model->latent.components > MOST_COMPONENTS || model->hyper.components > MOST_COMPONENTS ||
      model->channels > MOST_CHANNELS || model->hyper_channels > MOST_CHANNELS || width[0] > MOST_CHANNELS ||
      width[1] > MOST_CHANNELS || model->hidden > MOST_HIDDEN ||
      model->width > MOST_HIDDEN || (model->prior != FACTORIZED && !model->hyper_channels) ||
      (model->prior == HYPERPRIOR && model->means != model->channels) ||
      (model->prior == CONTEXT && (hyper_kind == JPEG_LIKE_HYPER || !model->width || model->means <= lowest_of(model) ||
                                   model->means >= model->channels)) ||
      field[10] > (model->synthesis == JPEG_LIKE ? 4 * MOST_KERNEL : MOST_KERNEL) || field[11] > MOST_KERNEL || (model->synthesis != JPEG_LIKE && (field[11] < 2 || !model->hidden)))
    return LIC_BAD_MODEL;
  read_quantizers(&reader, &model->latent, model->rates);
  read_quantizers(&reader, &model->hyper, model->rates);
  model->densities.channels = model->prior == FACTORIZED ? model->channels : model->hyper_channels;
  read_densities(&reader, &model->densities);
  if (model->prior != FACTORIZED) {
    int outputs = model->means + model->channels;
    if (model->prior == HYPERPRIOR) {
      model->input_scale = read_floats(&reader, 1, (size_t)model->hyper_channels, 0);
      model->log_index_thresholds = read_floats(&reader, 1, SCALES - 1, 0);
    }
    if (hyper_kind == JPEG_LIKE_HYPER) {
      model->hyper_layers = 1;
      read_layer(&reader, &model->hyper_layer[0], model->hyper_channels, outputs, 6, 4);
    } else {
      model->hyper_layers = 3;
      read_layer(&reader, &model->hyper_layer[0], model->hyper_channels, width[0], 5, 2);
      read_layer(&reader, &model->hyper_layer[1], width[0], width[1], 5, 2);
      read_layer(&reader, &model->hyper_layer[2], width[1], outputs, 3, 1);
      model->features = width[1];
    }
    for (index = 0; model->prior == HYPERPRIOR && index < model->hyper_layers; index++)
      model->hyper_layer[index].scale = read_floats(&reader, 1, (size_t)model->hyper_layer[index].outputs, 1);
    if (model->prior == CONTEXT) read_stages(&reader, model);
  }
  read_synthesis(&reader, model, (int)field[10], (int)field[11]);
  if (!reader.status && reader.at != reader.end) reader.status = LIC_BAD_MODEL;
  if (!reader.status && model->prior != FACTORIZED) make_hyper_tables(model, arena);
  return reader.status;
}

size_t lic_model_memory(const void *file, size_t size) {
  struct arena arena = {NULL, 0, 0};
  lic_model model;
  take(&arena, 1, sizeof model);
  return read_model(file, size, &arena, &model) ? 0 : arena.used;
}

int lic_open(const void *file, size_t size, void *memory, size_t capacity, lic_model **model) {
  struct arena arena = {memory, 0, capacity};
  lic_model *opened = TAKE(&arena, lic_model, 1);
  int status = opened ? read_model(file, size, &arena, opened) : LIC_MEMORY;
  if (!status && !fits(&arena)) status = LIC_MEMORY;
  *model = status ? NULL : opened;
  return status;
}

/* ---- Exact float64: lic_jax/entropy/exact.py, operation by operation ---- */

static double exact_exp(double value) {
  double exponent, rest, total = 1.0;
  int term;
  value = value < -700.0 ? -700.0 : value > 700.0 ? 700.0 : value;
  exponent = rint(value * 0x1.71547652b82fep+0);
  rest = value - exponent * 0x1.62e42fee00000p-1;
  rest = rest - exponent * 0x1.a39ef35793c76p-33;
  for (term = 16; term > 0; term--) {
    total = total * rest / term;
    total = total + 1.0;
  }
  return ldexp(total, (int)exponent);
}

static double exact_log(double value) {
  int whole, term;
  double exponent, ratio, square, total = 0.0, mantissa = frexp(value, &whole);
  if (mantissa < 0.7071067811865476) mantissa = mantissa * 2.0, whole--;
  exponent = whole;
  ratio = (mantissa - 1.0) / (mantissa + 1.0);
  square = ratio * ratio;
  for (term = 24; term >= 0; term--) {
    total = total * square;
    total = total + 1.0 / (2 * term + 1);
  }
  return exponent * 0x1.62e42fee00000p-1 + (exponent * 0x1.a39ef35793c76p-33 + 2.0 * ratio * total);
}

static double exact_sigmoid(double value) {
  double small = exact_exp(-fabs(value));
  return (value >= 0 ? 1.0 : small) / (1.0 + small);
}

static double exact_tanh(double value) { return 2.0 * exact_sigmoid(2.0 * value) - 1.0; }

static double exact_softplus(double value) {
  return (value > 0.0 ? value : 0.0) + exact_log(1.0 + exact_exp(-fabs(value)));
}

static double exact_normal_cdf(double value) {
  double square, term, total, cdf;
  int index;
  if (value <= -8.0) return 0.0;
  if (value >= 8.0) return 1.0;
  square = value * value;
  term = total = value;
  for (index = 1; index < 128; index++) {
    double before = total;
    term = term * square / (2 * index + 1);
    total = total + term;
    if (total == before && square < 2 * index + 1) break; /* all later terms are smaller: they change nothing */
  }
  cdf = 0.5 + 0x1.9884533d43651p-2 * exact_exp(-0.5 * square) * total;
  return cdf < 0.0 ? 0.0 : cdf > 1.0 ? 1.0 : cdf;
}

/* ---- Quantizers of a rate, and coding tables ---- */

#define FRACTION 12

/* The quantizer of one rate; levels in units of 2^-13, thresholds and offsets of 2^-12. */
struct quantizer {
  int components, rows;
  int32_t *thresholds, *doubled_levels, *dead_zones, *reconstructions;
};

static int32_t between(const int32_t *values, size_t count, size_t index, uint32_t rate) {
  int64_t part = rate % 256;
  const int32_t *row = values + rate / 256 * count;
  if (!part) return row[index];
  return (int32_t)(((int64_t)row[index] * (256 - part) + (int64_t)row[count + index] * part) >> 8);
}

static void quantizer_at(const struct quantizers *all, uint32_t rate, struct arena *arena, struct quantizer *found) {
  size_t count = (size_t)all->components, rows = (size_t)all->rows, index;
  int64_t sum = 0, level;
  found->components = all->components, found->rows = all->rows;
  found->thresholds = TAKE(arena, int32_t, count);
  found->doubled_levels = TAKE(arena, int32_t, count + 1);
  found->dead_zones = rows ? TAKE(arena, int32_t, rows) : NULL;
  found->reconstructions = rows ? TAKE(arena, int32_t, rows) : NULL;
  if (!fits(arena)) return;
  for (index = 0; index < count; index++) sum += between(all->spacings, count, index, rate);
  level = 2 * (int64_t)between(all->centres, 1, 0, rate) - sum;
  for (index = 0; index < count; index++) {
    found->thresholds[index] = between(all->thresholds, count, index, rate);
    found->doubled_levels[index] = (int32_t)level;
    level += 2 * (int64_t)between(all->spacings, count, index, rate);
  }
  found->doubled_levels[count] = (int32_t)level;
  for (index = 0; index < rows; index++) {
    found->dead_zones[index] = between(all->dead_zones, rows, index, rate);
    found->reconstructions[index] = between(all->reconstructions, rows, index, rate);
  }
}

static int side(int index, int count) { return 2 * index + 1 < count ? -1 : 2 * index + 1 > count; }

static int64_t doubled_level(const struct quantizer *quantizer, int symbol, int row) {
  int64_t level = quantizer->doubled_levels[symbol];
  if (quantizer->rows) level += 2 * (int64_t)side(symbol, quantizer->components + 1) * quantizer->reconstructions[row];
  return level;
}

static float level_of(const struct quantizer *quantizer, int symbol, int row) {
  return (float)((double)doubled_level(quantizer, symbol, row) * (0.5 / (1 << FRACTION)));
}

static double edge_of(const struct quantizer *quantizer, int index, int row, int midpoints) {
  int64_t threshold = quantizer->thresholds[index];
  if (midpoints)
    return (double)(doubled_level(quantizer, index + 1, row) + doubled_level(quantizer, index, row)) *
           (0.25 / (1 << FRACTION));
  if (quantizer->rows) threshold += (int64_t)side(index, quantizer->components) * quantizer->dead_zones[row];
  return (double)threshold * (1.0 / (1 << FRACTION));
}

#define TOTAL_BITS 24

/* Fills a table's boundaries B_0 ... B_{T+1} from cumulative probabilities that come one after the other. */
struct table_writer {
  uint32_t *boundaries;
  int components, count;
  int64_t most;
};

static void begin_table(struct table_writer *writer, uint32_t *boundaries, int components) {
  writer->boundaries = boundaries, writer->components = components, writer->count = 0, writer->most = 0;
  boundaries[0] = 0;
  boundaries[components + 1] = 1u << TOTAL_BITS;
}

static void add_probability(struct table_writer *writer, double probability) {
  int64_t scaled = (int64_t)floor(probability * (double)((1 << TOTAL_BITS) - writer->components - 1));
  if (!writer->count || scaled > writer->most) writer->most = scaled;
  writer->count++;
  writer->boundaries[writer->count] = (uint32_t)(writer->most + writer->count);
}

static void gaussian_table(const struct quantizer *quantizer, int row, int midpoints, uint32_t *boundaries) {
  double scale = 0.11 * exact_exp(row * 0.12305479932808386);
  struct table_writer writer;
  int index;
  begin_table(&writer, boundaries, quantizer->components);
  for (index = 0; index < quantizer->components; index++)
    add_probability(&writer, exact_normal_cdf(edge_of(quantizer, index, row, midpoints) / scale));
}

static void density_table(const struct densities *densities, int channel, const struct quantizer *quantizer, int row,
                          int midpoints, uint32_t *boundaries) {
  static const int widths[] = {1, 3, 3, 1};
  double matrix[3][9], factor[2][3];
  struct table_writer writer;
  int layer, out, in, index;
  for (layer = 0; layer < 3; layer++) {
    int outputs = widths[layer + 1], weights = outputs * widths[layer];
    for (index = 0; index < weights; index++)
      matrix[layer][index] = exact_softplus(densities->matrix[layer][channel * weights + index]);
    for (index = 0; layer < 2 && index < outputs; index++)
      factor[layer][index] = exact_tanh(densities->factor[layer][channel * outputs + index]);
  }
  begin_table(&writer, boundaries, quantizer->components);
  for (index = 0; index < quantizer->components; index++) {
    double values[3] = {edge_of(quantizer, index, row, midpoints), 0, 0}, next[3] = {0, 0, 0};
    for (layer = 0; layer < 3; layer++) {
      for (out = 0; out < widths[layer + 1]; out++) {
        double total = densities->bias[layer][channel * widths[layer + 1] + out];
        for (in = 0; in < widths[layer]; in++) total = total + matrix[layer][out * widths[layer] + in] * values[in];
        next[out] = layer < 2 ? total + factor[layer][out] * exact_tanh(total) : total;
      }
      memcpy(values, next, sizeof values);
    }
    add_probability(&writer, exact_sigmoid(values[0]));
  }
}

/* The hyper latent's quantizers are usually alike at all rates: then its tables are made once. */
static void make_hyper_tables(lic_model *model, struct arena *arena) {
  size_t count = (size_t)model->hyper.components;
  int channel, rate, alike = 1;
  struct quantizer quantizer;
  uint32_t *tables = TAKE(arena, uint32_t, (size_t)model->hyper_channels * (count + 2));
  quantizer_at(&model->hyper, 0, arena, &quantizer);
  if (!fits(arena)) return;
  for (rate = 1; rate < model->rates; rate++)
    alike = alike && !memcmp(model->hyper.spacings, model->hyper.spacings + (size_t)rate * count, 4 * count) &&
            !memcmp(model->hyper.thresholds, model->hyper.thresholds + (size_t)rate * count, 4 * count) &&
            model->hyper.centres[rate] == model->hyper.centres[0];
  for (channel = 0; alike && channel < model->hyper_channels; channel++)
    density_table(&model->densities, channel, &quantizer, 0, model->midpoints, tables + (size_t)channel * (count + 2));
  model->hyper_tables = tables, model->hyper_tables_are_for_all = alike;
}

/* ---- The range decoder (constriction's queue: 32-bit words, 64-bit state) ---- */

struct range_decoder {
  const uint8_t *at, *end;
  uint64_t lower, range, point;
};

static uint64_t next_word(struct range_decoder *decoder) {
  uint64_t word = 0;
  if (decoder->at < decoder->end) word = get32(decoder->at), decoder->at += 4;
  return word;
}

static void begin_range(struct range_decoder *decoder, const uint8_t *bytes, size_t size) {
  decoder->at = bytes, decoder->end = bytes + size;
  decoder->lower = 0, decoder->range = UINT64_MAX;
  decoder->point = next_word(decoder) << 32;
  decoder->point |= next_word(decoder);
}

/* Whether the code ends here, as constriction's `maybe_exhausted` says. */
static int is_at_end(const struct range_decoder *decoder) {
  return decoder->at == decoder->end &&
         (decoder->range == UINT64_MAX || decoder->point - decoder->lower < ((uint64_t)1 << 33) - 1);
}

/* Decodes `count` symbols with one table; the middle symbol, by far the most frequent, is tried first. */
static int decode_symbols(struct range_decoder *decoder, const uint32_t *boundaries, int components, uint32_t count,
                          const uint32_t *positions, int16_t *symbols) {
  const int middle = (components + 1) / 2;
  const uint64_t middle_low = boundaries[middle], middle_high = boundaries[middle + 1];
  uint64_t lower = decoder->lower, range = decoder->range, point = decoder->point;
  uint32_t index;
  for (index = 0; index < count; index++) {
    uint64_t scale = range >> TOTAL_BITS, offset = point - lower;
    int symbol = middle;
    if (offset - scale * middle_low < scale * (middle_high - middle_low)) {
      lower += scale * middle_low;
      range = scale * (middle_high - middle_low);
    } else {
      int low = 0, high = components + 1;
      uint64_t quantile = offset / scale;
      if (quantile >> TOTAL_BITS) return LIC_DAMAGED;
      if (quantile < middle_low) high = middle; else low = middle;
      if (low && quantile < boundaries[middle + 2 <= components + 1 ? middle + 2 : components + 1]) high = middle + 2;
      if (!low && quantile >= boundaries[middle - 1]) low = middle - 1;
      while (high - low > 1) {
        int half = (low + high) / 2;
        if (quantile < boundaries[half]) high = half; else low = half;
      }
      symbol = low;
      lower += scale * boundaries[symbol];
      range = scale * (boundaries[symbol + 1] - boundaries[symbol]);
    }
    if (range < (uint64_t)1 << 32) {
      lower <<= 32, range <<= 32, point <<= 32;
      if (decoder->at < decoder->end) point |= get32(decoder->at), decoder->at += 4;
    }
    symbols[positions ? positions[index] : index] = (int16_t)symbol;
  }
  decoder->lower = lower, decoder->range = range, decoder->point = point;
  return LIC_OK;
}

/* ---- Networks ---- */

/* An undefined value becomes the lowest. */
static float clipped(float value, float low, float high) { return value > low ? value < high ? value : high : low; }

/* The largest whole number that is not above a value within +-2^31. */
static float floor_of(float value) {
  int32_t whole = (int32_t)value;
  return (float)(whole - ((float)whole > value));
}

/* A magnitude as a rectified activation, in sixteenths. */
static uint8_t sixteenths(float value) {
  return (uint8_t)(int32_t)(clipped(fabsf(value), 0, 255.0f / 16) * 16 + 0.5f);
}

static float with_sign(float value) {
  return floor_of(clipped(value, -2047.0f / 16, 2047.0f / 16) * 16 + 0.5f) * 0.0625f;
}

/* A field [rows][columns][channels] inside a buffer with margins. */
struct field {
  int rows, columns, channels;
  size_t row_stride; /* in floats */
  float *values;     /* of position (0, 0) */
};

static const float *at_position(const struct field *field, int row, int column) {
  return field->values + (size_t)row * field->row_stride + (size_t)column * (size_t)field->channels;
}

/* Takes memory for the output of a transposed convolution of a field, with the margins that it writes to. */
static struct field output_of(const struct transposed *layer, int rows, int columns, struct arena *arena) {
  int margin = layer->size - layer->stride > 0 ? layer->size - layer->stride : 0, first_tap = margin / 2;
  struct field out = {rows * layer->stride, columns * layer->stride, layer->outputs, 0, NULL};
  size_t count;
  float *start;
  out.row_stride = ((size_t)out.columns + (size_t)margin) * (size_t)layer->outputs;
  count = ((size_t)out.rows + (size_t)margin) * out.row_stride + layer->run;
  start = TAKE(arena, float, count);
  if (start) memset(start, 0, count * sizeof *start);
  out.values = start ? start + (size_t)first_tap * (out.row_stride + (size_t)layer->outputs) : NULL;
  return out;
}

/* Adds a transposed convolution of a field to `out`, without bias. */
static void add_transposed(const struct kernels *kernels, const struct transposed *layer, const struct field *in,
                           struct field *out, struct term *terms) {
  int margin = layer->size - layer->stride > 0 ? layer->size - layer->stride : 0, first_tap = margin / 2;
  float *start = out->values - (size_t)first_tap * (out->row_stride + (size_t)layer->outputs);
  int row, column, p;
  for (row = 0; row < in->rows; row++)
    for (column = 0; column < in->columns; column++) {
      int count = kernels->collect(at_position(in, row, column), in->channels, 0, terms);
      float *corner = start + (size_t)(row * layer->stride) * out->row_stride +
                      (size_t)(column * layer->stride) * (size_t)layer->outputs;
      for (p = 0; count && p < layer->size; p++)
        kernels->add_rows(corner + (size_t)p * out->row_stride, (int)layer->run,
                          layer->kernel + (size_t)p * (size_t)layer->inputs * layer->run, layer->run, terms, count);
    }
}

static void activate(const struct kernels *kernels, enum activation kind, struct field *field,
                     const struct transposed *layer) {
  int row, column;
  for (row = 0; row < field->rows; row++)
    for (column = 0; column < field->columns; column++)
      kernels->activate(kind, field->values + (size_t)row * field->row_stride + (size_t)column * (size_t)field->channels,
                        layer->bias, layer->scale, field->channels);
}

/* An image's decoding: what its stages share. */
struct decoding {
  const lic_model *model;
  const struct kernels *kernels;
  struct arena *arena;
  int hyper_rows, hyper_columns, rows, columns;
  struct quantizer quantizer, hyper_quantizer;
  uint32_t *tables;    /* [64 or channels][components + 2] */
  uint8_t *has_table;
  int table_count;
  uint32_t *order;     /* positions of a stage, grouped by table */
  uint16_t *index;     /* table of each symbol of a stage */
  int16_t *symbols;
  struct term *terms;
  size_t term_count;
  int workers;
  void (*run)(void *pool, lic_job *job, void *argument, int count);
  void *pool;
  uint8_t *magnitudes; /* of the latent, in sixteenths: what the context prior's stages see */
  struct field hyper_latent, features, outputs, latent;
};

/* Lets all workers do their part of a job. */
static void run_all(const struct decoding *decoding, lic_job *job, void *argument) {
  if (decoding->workers > 1)
    decoding->run(decoding->pool, job, argument, decoding->workers);
  else
    job(argument, 0);
}

static uint32_t *table_of(struct decoding *decoding, int row) {
  const lic_model *model = decoding->model;
  uint32_t *table = decoding->tables + (size_t)row * ((size_t)decoding->quantizer.components + 2);
  if (decoding->has_table[row]) return table;
  decoding->has_table[row] = 1;
  if (model->prior == FACTORIZED)
    density_table(&model->densities, row, &decoding->quantizer, row, model->midpoints, table);
  else
    gaussian_table(&decoding->quantizer, row, model->midpoints, table);
  return table;
}

/* Decodes `count` symbols, grouped by their tables: index → symbols. */
static int decode_grouped(struct decoding *decoding, struct range_decoder *decoder, uint32_t count) {
  size_t tables = (size_t)decoding->table_count, table;
  uint32_t position, start = 0;
  uint32_t *ends = TAKE(decoding->arena, uint32_t, tables);
  int status = LIC_OK;
  if (!ends) return LIC_MEMORY;
  memset(ends, 0, tables * sizeof *ends);
  for (position = 0; position < count; position++) ends[decoding->index[position]]++;
  for (table = 0; table < tables; table++) start += ends[table], ends[table] = start - ends[table];
  for (position = 0; position < count; position++) decoding->order[ends[decoding->index[position]]++] = position;
  for (table = 0, start = 0; table < tables && !status; start = ends[table++])
    if (ends[table] > start)
      status = decode_symbols(decoder, table_of(decoding, (int)table), decoding->quantizer.components,
                              ends[table] - start, decoding->order + start, decoding->symbols);
  return status;
}

static int decode_hyper_latent(struct decoding *decoding, const uint8_t *bytes, size_t size) {
  const lic_model *model = decoding->model;
  const struct quantizer *quantizer = &decoding->hyper_quantizer;
  uint32_t positions = (uint32_t)decoding->hyper_rows * (uint32_t)decoding->hyper_columns, position;
  size_t entries = (size_t)quantizer->components + 2;
  uint32_t *own_table = TAKE(decoding->arena, uint32_t, entries);
  struct range_decoder decoder;
  int channel, status;
  if (!own_table) return LIC_MEMORY;
  begin_range(&decoder, bytes, size);
  for (channel = 0; channel < model->hyper_channels; channel++) {
    const uint32_t *table = model->hyper_tables + (size_t)channel * entries;
    if (!model->hyper_tables_are_for_all) {
      density_table(&model->densities, channel, quantizer, 0, model->midpoints, own_table);
      table = own_table;
    }
    status = decode_symbols(&decoder, table, quantizer->components, positions, NULL, decoding->symbols);
    if (status) return status;
    for (position = 0; position < positions; position++)
      decoding->hyper_latent.values[(size_t)position * (size_t)model->hyper_channels + (size_t)channel] =
          level_of(quantizer, decoding->symbols[position], 0);
  }
  return is_at_end(&decoder) ? LIC_OK : LIC_DAMAGED;
}

static void run_hyper_synthesis(struct decoding *decoding) {
  const lic_model *model = decoding->model;
  struct field in = decoding->hyper_latent, out = in;
  size_t count = (size_t)in.rows * in.row_stride, index;
  int layer, integer = model->prior == HYPERPRIOR;
  for (index = 0; index < count; index++) {
    float value = in.values[index];
    in.values[index] =
        integer ? floor_of(clipped(value * model->input_scale[index % (size_t)in.channels] + 0.5f, -128, 127))
                : with_sign(value);
  }
  for (layer = 0; layer < model->hyper_layers; layer++) {
    const struct transposed *own = &model->hyper_layer[layer];
    int is_last = layer == model->hyper_layers - 1;
    out = output_of(own, in.rows, in.columns, decoding->arena);
    if (!fits(decoding->arena)) return;
    add_transposed(decoding->kernels, own, &in, &out, decoding->terms);
    activate(decoding->kernels,
             integer ? is_last ? INTEGER_LAST : INTEGER_HIDDEN : is_last ? GRID_LAST : GRID_HIDDEN, &out, own);
    decoding->features = in;
    in = out;
  }
  decoding->outputs = out;
}

/* ---- The three priors: each fills decoding->latent ---- */



static int decode_factorized(struct decoding *decoding, struct range_decoder *decoder) {
  int channels = decoding->model->channels, channel, status;
  uint32_t positions = (uint32_t)decoding->rows * (uint32_t)decoding->columns, position;
  for (channel = 0; channel < channels; channel++) {
    status = decode_symbols(decoder, table_of(decoding, channel), decoding->quantizer.components, positions, NULL,
                            decoding->symbols);
    if (status) return status;
    for (position = 0; position < positions; position++)
      decoding->latent.values[(size_t)position * (size_t)channels + (size_t)channel] =
          level_of(&decoding->quantizer, decoding->symbols[position], channel);
  }
  return LIC_OK;
}

static uint16_t integer_index(const lic_model *model, float scale) {
  uint16_t index = 0;
  if (!model->log_index) return (uint16_t)clipped(scale, 0, SCALES - 1);
  while (index < SCALES - 1 && model->log_index_thresholds[index] <= scale) index++;
  return index;
}

static int decode_hyperprior(struct decoding *decoding, struct range_decoder *decoder) {
  const lic_model *model = decoding->model;
  int row, column, channel, channels = model->channels, status;
  uint32_t position = 0;
  for (row = 0; row < decoding->rows; row++)
    for (column = 0; column < decoding->columns; column++) {
      const float *outputs = at_position(&decoding->outputs, row, column);
      for (channel = 0; channel < channels; channel++)
        decoding->index[position++] = integer_index(model, outputs[channels + channel]);
    }
  status = decode_grouped(decoding, decoder, position);
  if (status) return status;
  for (row = 0, position = 0; row < decoding->rows; row++)
    for (column = 0; column < decoding->columns; column++) {
      const float *outputs = at_position(&decoding->outputs, row, column);
      for (channel = 0; channel < channels; channel++, position++)
        decoding->latent.values[position] =
            outputs[channel] + level_of(&decoding->quantizer, decoding->symbols[position], decoding->index[position]);
    }
  return LIC_OK;
}

static int is_coded(const struct stage *stage, int row, int column) {
  if (stage->passes == 2) return ((row + column) & 1) == stage->number;
  return stage->number == 2 ? (row + column) & 1 : (row & 1) == stage->number && (column & 1) == stage->number;
}

/* Lists the bytes that are not zero, in sixteenths, from row `first` on. */
static int collect_bytes(const uint8_t *bytes, int count, uint32_t first, struct term *terms) {
  int index, found = 0;
  for (index = 0; index < count; index += 8) {
    uint64_t word = 0;
    int inner, most = count - index < 8 ? count - index : 8;
    memcpy(&word, bytes + index, (size_t)most);
    for (inner = 0; word && inner < most; inner++)
      if (bytes[index + inner]) {
        terms[found].row = first + (uint32_t)(index + inner);
        terms[found++].value = (float)bytes[index + inner] * 0.0625f;
      }
  }
  return found;
}

/* The terms of the latents in the window around a position: signs of the lowest channels, and all magnitudes. */
static int collect_window(const struct decoding *decoding, const struct stage *stage, int row, int column,
                          struct term *terms, struct term *linear, int *linear_count) {
  int low = stage->known_low, known = stage->known, count = 0, tap;
  *linear_count = 0;
  for (tap = 0; tap < WINDOW * WINDOW; tap++) {
    int near_row = row + tap / WINDOW - 1, near_column = column + tap % WINDOW - 1, found, index;
    uint32_t first = (uint32_t)(tap * (low + known) + low), lowest = (uint32_t)(tap * low);
    struct term *own = terms + count;
    const float *values;
    if (near_row < 0 || near_column < 0 || near_row >= decoding->rows || near_column >= decoding->columns) continue;
    values = at_position(&decoding->latent, near_row, near_column);
    found = collect_bytes(decoding->magnitudes + (values - decoding->latent.values), known, first, own);
    count += found;
    for (index = 0; index < found && own[index].row < first + (uint32_t)low; index++) {
      uint32_t channel = own[index].row - first;
      float value = with_sign(values[channel]);
      if (value == 0) continue;
      linear[*linear_count].row = lowest + channel, linear[(*linear_count)++].value = value;
      terms[count].row = first - (uint32_t)low + channel, terms[count++].value = value;
    }
  }
  return count;
}

/* Computes the changes that a stage's network makes to (μ, s) at a position. */
static void run_stage(const struct decoding *decoding, const struct stage *stage, int row, int column, struct term *terms,
                      float *out) {
  const lic_model *model = decoding->model;
  const struct kernels *kernels = decoding->kernels;
  size_t width = PADDED(model->width), outputs = PADDED(stage->means + stage->last - stage->first);
  struct term *linear = terms + decoding->term_count - (size_t)(WINDOW * WINDOW * model->channels);
  float hidden[MOST_HIDDEN];
  int count, linear_count = 0;
  memcpy(hidden, stage->bias, width * sizeof *hidden);
  count = kernels->collect(at_position(&decoding->features, row, column), model->features, 0, terms);
  kernels->add_rows(hidden, (int)width, stage->features, width, terms, count);
  count = collect_window(decoding, stage, row, column, terms, linear, &linear_count);
  kernels->add_rows(hidden, (int)width, stage->near, width, terms, count);
  kernels->activate(GRID_HIDDEN, hidden, NULL, NULL, model->width);
  count = kernels->collect(hidden, model->width, 0, terms);
  memcpy(out, stage->out_bias, outputs * sizeof *out);
  kernels->add_rows(out, (int)outputs, stage->out, outputs, terms, count);
  if (stage->means && linear_count)
    kernels->add_rows(out, (int)PADDED(stage->means), stage->linear, PADDED(stage->means), linear, linear_count);
}

/* How many positions a stage codes in the rows before one; columns are a multiple of 4. */
static uint32_t coded_before(const struct stage *stage, int row, int columns) {
  if (stage->passes == 2 || stage->number == 2) return (uint32_t)(row * (columns / 2));
  return (uint32_t)((row + (stage->number == 0)) / 2 * (columns / 2));
}

/* A stage of the context prior at work; workers share its rows. */
struct stage_work {
  struct decoding *decoding;
  const struct stage *stage;
  float *means;        /* of the stage's positions */
  struct term **terms; /* of each worker */
  float **outputs;
};

static void predict_rows(void *argument, int worker) {
  const struct stage_work *work = argument;
  struct decoding *decoding = work->decoding;
  const struct stage *stage = work->stage;
  const lic_model *model = decoding->model;
  int first = decoding->rows * worker / decoding->workers, last = decoding->rows * (worker + 1) / decoding->workers;
  int own_means = stage->means, channels = stage->last - stage->first, row, column, channel;
  size_t done = coded_before(stage, first, decoding->columns);
  float *mean = work->means + done * (size_t)own_means, *changes = work->outputs[worker];
  float *indexes = changes + PADDED(2 * model->channels);
  uint16_t *index = decoding->index + done * (size_t)channels;
  memset(changes, 0, PADDED(2 * model->channels) * sizeof *changes); /* the first stage changes nothing */
  for (row = first; row < last; row++)
    for (column = 0; column < decoding->columns; column++) {
      const float *before;
      if (!is_coded(stage, row, column)) continue;
      before = at_position(&decoding->outputs, row, column);
      if (stage->known) run_stage(decoding, stage, row, column, work->terms[worker], changes);
      decoding->kernels->means(mean, before + stage->first, changes, own_means);
      decoding->kernels->indexes(indexes, before + model->means + stage->first, changes + own_means, channels);
      for (channel = 0; channel < channels; channel++) *index++ = (uint16_t)(int32_t)indexes[channel];
      mean += own_means;
    }
}

static void place_rows(void *argument, int worker) {
  const struct stage_work *work = argument;
  struct decoding *decoding = work->decoding;
  const struct stage *stage = work->stage;
  const struct quantizer *quantizer = &decoding->quantizer;
  int first = decoding->rows * worker / decoding->workers, last = decoding->rows * (worker + 1) / decoding->workers;
  int own_means = stage->means, channels = stage->last - stage->first, row, column, channel;
  int half = quantizer->components / 2, is_centred = quantizer->components % 2 == 0 && !quantizer->doubled_levels[half];
  int zero = is_centred ? half : -1; /* the symbol whose level is 0 */
  size_t done = coded_before(stage, first, decoding->columns), position = done * (size_t)channels;
  const float *mean = work->means + done * (size_t)own_means;
  for (row = first; row < last; row++)
    for (column = 0; column < decoding->columns; column++) {
      float *values;
      uint8_t *magnitudes;
      if (!is_coded(stage, row, column)) continue;
      values = decoding->latent.values + (size_t)row * decoding->latent.row_stride +
               (size_t)column * (size_t)decoding->model->channels + stage->first;
      magnitudes = decoding->magnitudes + (values - decoding->latent.values);
      for (channel = 0; channel < channels; channel++, position++) {
        int symbol = decoding->symbols[position];
        if (symbol == zero) continue;
        values[channel] = level_of(quantizer, symbol, decoding->index[position]);
        magnitudes[channel] = sixteenths(values[channel]);
      }
      for (channel = 0; channel < own_means; channel++) {
        values[channel] += *mean++;
        magnitudes[channel] = sixteenths(values[channel]);
      }
    }
}

static int take_stage_work(struct decoding *decoding, struct stage_work *work) {
  const lic_model *model = decoding->model;
  int worker;
  work->decoding = decoding;
  work->means = TAKE(decoding->arena, float, (size_t)decoding->rows * (size_t)decoding->columns * (size_t)model->means);
  work->terms = TAKE(decoding->arena, struct term *, decoding->workers);
  work->outputs = TAKE(decoding->arena, float *, decoding->workers);
  for (worker = 0; worker < decoding->workers; worker++) {
    struct term *terms = TAKE(decoding->arena, struct term, decoding->term_count);
    float *outputs = TAKE(decoding->arena, float, PADDED(2 * model->channels) + PADDED(model->channels));
    if (fits(decoding->arena)) work->terms[worker] = terms, work->outputs[worker] = outputs;
  }
  return fits(decoding->arena);
}

static int decode_context(struct decoding *decoding, struct range_decoder *decoder) {
  struct stage_work work;
  int number, status = LIC_OK;
  if (!take_stage_work(decoding, &work)) return LIC_MEMORY;
  for (number = 0; number < STAGES && !status; number++) {
    const struct stage *stage = &decoding->model->stages[number];
    uint32_t positions = coded_before(stage, decoding->rows, decoding->columns);
    work.stage = stage;
    run_all(decoding, predict_rows, &work);
    status = decode_grouped(decoding, decoder, positions * (uint32_t)(stage->last - stage->first));
    if (!status) run_all(decoding, place_rows, &work);
  }
  return status;
}

/* ---- Synthesis, a few rows of latents at a time ---- */

enum { STRIP = 4 };

/* The state of a synthesis: hidden rows under construction, and finished ones laid out by channel. */
struct synthesis {
  const struct decoding *decoding;
  const lic_model *model;
  const struct kernels *kernels;
  int columns, width, height; /* of the latent; of the image */
  size_t padded_columns;
  float *sums[2];             /* hidden rows of a strip, of both branches */
  size_t sum_stride, sum_count;
  int branches;
  struct term *terms;         /* the latents of a strip that are not zero */
  uint32_t *ends;             /* of each position's terms */
  float *ring;                /* [2 halo + 1][hidden][columns with margins] */
  float *image_rows;          /* [6][columns] */
  uint8_t *rgb;
};

static uint8_t to_byte(float value) {
  float scaled = (value + 0.5f) * 255.0f;
  return (uint8_t)(scaled > 0 ? scaled < 255 ? (int)(scaled + 0.5f) : 255 : 0);
}

/* Finishes a row of hidden values, and lays it out by channel in the ring. */
static void finish_hidden_row(struct synthesis *synthesis, float *sums, float *beside, int row) {
  const lic_model *model = synthesis->model;
  int hidden = model->hidden, columns = 8 * synthesis->columns, column, unit, halo = model->halo;
  float *ring = synthesis->ring + (size_t)(row % (2 * halo + 1)) * (size_t)hidden * synthesis->padded_columns;
  float least = model->synthesis == TWO_LAYER_GAIN ? 0.00390625f : -INFINITY;
  synthesis->kernels->normalize(sums, columns, hidden, model->first.bias, model->beta, model->gamma, least);
  for (unit = 0; unit < hidden; unit++) {
    float *out = ring + (size_t)unit * synthesis->padded_columns + (size_t)halo;
    for (column = 0; column < columns; column++) out[column] = sums[(size_t)column * (size_t)hidden + (size_t)unit];
    for (column = 0; beside && column < columns; column++)
      out[column] += beside[(size_t)column * (size_t)hidden + (size_t)unit] + model->beside.bias[unit];
  }
}

/* Writes the two rows of pixels of a hidden row, from the rows around it in the ring. */
static void write_image_rows(struct synthesis *synthesis, int row, int hidden_rows) {
  const lic_model *model = synthesis->model;
  const struct transposed *last = &model->last;
  int halo = model->halo, ring_rows = 2 * halo + 1, first_tap = (last->size - 2) / 2, phase, d, column, colour;
  int columns = 8 * synthesis->columns;
  size_t kernel_stride = (size_t)(2 * halo + 1) * (size_t)last->inputs * 8, padded = PADDED(columns);
  for (phase = 0; phase < 2; phase++) {
    const float *rows[64], *kernels[64];
    int count = 0, y = 2 * row + phase;
    uint8_t *out;
    if (y >= synthesis->height) return;
    for (d = -halo; d <= halo; d++) {
      int p = phase + first_tap + 2 * d, from = row - d;
      if (p < 0 || p >= last->size || from < 0 || from >= hidden_rows) continue;
      rows[count] = synthesis->ring + (size_t)(from % ring_rows) * (size_t)model->hidden * synthesis->padded_columns;
      kernels[count++] = model->image_kernel + (size_t)p * kernel_stride;
    }
    synthesis->kernels->image_row(synthesis->image_rows, (int)padded, rows, kernels, count, model->hidden, halo,
                                  synthesis->padded_columns);
    out = synthesis->rgb + (size_t)y * (size_t)synthesis->width * 3;
    for (colour = 0; colour < 6; colour++) {
      float *values = synthesis->image_rows + (size_t)colour * padded;
      int of_column = colour / 3;
      synthesis->kernels->to_bytes(values, columns, last->bias[colour % 3]);
      for (column = of_column; column < synthesis->width; column += 2)
        out[3 * column + colour % 3] = (uint8_t)(int32_t)values[column / 2];
    }
  }
}

/* Adds a strip of latent rows to the sums; loops over the kernel's rows outside, so that one stays in the cache. */
static void add_strip(struct synthesis *synthesis, const struct transposed *layer, float *sums, int rows) {
  const struct term *terms = synthesis->terms;
  const uint32_t *ends = synthesis->ends;
  int p, row, column;
  for (p = 0; p < layer->size; p++) {
    const float *kernel = layer->kernel + (size_t)p * (size_t)layer->inputs * layer->run;
    uint32_t start = 0;
    for (row = 0; row < rows; row++)
      for (column = 0; column < synthesis->columns; column++) {
        uint32_t end = ends[row * synthesis->columns + column];
        float *sum = sums + (size_t)(row * layer->stride + p) * synthesis->sum_stride +
                     (size_t)(column * layer->stride) * (size_t)layer->outputs;
        if (end > start)
          synthesis->kernels->add_rows(sum, (int)layer->run, kernel, layer->run, terms + start, (int)(end - start));
        start = end;
      }
  }
}

/* Takes the memory of a worker; all workers share one decoding. */
static void take_synthesis(struct decoding *decoding, int width, int height, uint8_t *rgb, struct synthesis *state) {
  const lic_model *model = decoding->model;
  const struct transposed *first = &model->first;
  struct arena *arena = decoding->arena;
  int columns = decoding->columns, margin = first->size - first->stride, branch;
  size_t hidden = (size_t)model->hidden, ring_rows = (size_t)(2 * model->halo + 1);
  memset(state, 0, sizeof *state);
  state->decoding = decoding, state->model = model, state->kernels = decoding->kernels;
  state->columns = columns, state->width = width, state->height = height, state->rgb = rgb;
  state->sum_stride = ((size_t)columns * (size_t)first->stride + (size_t)margin) * (size_t)first->outputs;
  state->sum_count = (size_t)(STRIP * first->stride + margin) * state->sum_stride + first->run;
  state->branches = model->synthesis == TWO_LAYER_RESIDUAL ? 2 : 1;
  state->terms = TAKE(arena, struct term, (size_t)STRIP * (size_t)columns * (size_t)model->channels);
  state->ends = TAKE(arena, uint32_t, (size_t)STRIP * (size_t)columns);
  for (branch = 0; branch < state->branches; branch++) state->sums[branch] = TAKE(arena, float, state->sum_count);
  if (model->synthesis == JPEG_LIKE) return;
  state->padded_columns = PADDED(8 * columns) + 2 * (size_t)model->halo + LANES;
  state->ring = TAKE(arena, float, ring_rows * hidden * state->padded_columns);
  state->image_rows = TAKE(arena, float, 6 * PADDED(8 * columns));
  if (fits(arena)) memset(state->ring, 0, ring_rows * hidden * state->padded_columns * sizeof(float));
}

/* Finishes one row of the first layer's output, and writes the pixels that it completes, up to row `last`. */
static void finish_row(struct synthesis *state, int row, size_t offset, int *written, int last) {
  const lic_model *model = state->model;
  int column, out_rows = state->decoding->rows * model->first.stride;
  if (model->synthesis == JPEG_LIKE && row >= state->height) return;
  if (model->synthesis == JPEG_LIKE) {
    const float *values = state->sums[0] + offset;
    uint8_t *out = state->rgb + (size_t)row * (size_t)state->width * 3;
    for (column = 0; column < 3 * state->width; column++)
      out[column] = to_byte(values[column] + model->first.bias[column % 3]);
    return;
  }
  finish_hidden_row(state, state->sums[0] + offset, state->branches > 1 ? state->sums[1] + offset : NULL, row);
  for (; *written < last && (*written + model->halo <= row || row == out_rows - 1); ++*written)
    write_image_rows(state, *written, out_rows);
}

/* Synthesizes a worker's band of the image: strip after strip of the latent rows that it depends on. */
static void synthesize_band(void *argument, int worker) {
  struct synthesis *state = (struct synthesis *)argument + worker;
  const struct decoding *decoding = state->decoding;
  const lic_model *model = state->model;
  const struct transposed *first = &model->first;
  int stride = first->stride, margin = first->size - stride, first_tap = margin / 2, rows = decoding->rows, branch;
  int own_first = rows * worker / decoding->workers * stride, own_last = rows * (worker + 1) / decoding->workers * stride;
  int done = own_first > model->halo ? own_first - model->halo : 0, written = own_first, row, last, column, inner;
  int end = own_last + model->halo < rows * stride ? own_last + model->halo : rows * stride;
  row = done + first_tap - first->size < 0 ? 0 : (done + first_tap - first->size) / stride + 1;
  row -= row % STRIP; /* the same strips for any number of workers, so the same sums */
  last = (end - 1 + first_tap) / stride + 1 < rows ? (end - 1 + first_tap) / stride + 1 : rows;
  for (branch = 0; branch < state->branches; branch++) memset(state->sums[branch], 0, state->sum_count * sizeof(float));
  for (; row < last; row += STRIP) {
    int strip = last - row < STRIP ? last - row : STRIP, base = row * stride - first_tap;
    int complete = row + strip < last ? (row + strip) * stride - first_tap : end;
    uint32_t count = 0;
    for (inner = 0; inner < strip; inner++)
      for (column = 0; column < state->columns; column++) {
        const float *values = at_position(&decoding->latent, row + inner, column);
        count += (uint32_t)state->kernels->collect(values, model->channels, 0, state->terms + count);
        state->ends[inner * state->columns + column] = count;
      }
    add_strip(state, first, state->sums[0], strip);
    if (state->branches > 1) add_strip(state, &model->beside, state->sums[1], strip);
    for (; done < complete; done++)
      finish_row(state, done, (size_t)(done - base) * state->sum_stride + (size_t)first_tap * (size_t)first->outputs,
                 &written, own_last);
    for (branch = 0; branch < state->branches; branch++) { /* rows that the next strip adds to move to the top */
      size_t used = (size_t)(strip * stride) * state->sum_stride, kept = (size_t)margin * state->sum_stride;
      memmove(state->sums[branch], state->sums[branch] + used, kept * sizeof(float));
      memset(state->sums[branch] + kept, 0, (state->sum_count - kept) * sizeof(float));
    }
  }
}

static int synthesize(struct decoding *decoding, int width, int height, uint8_t *rgb) {
  struct synthesis *states = TAKE(decoding->arena, struct synthesis, decoding->workers), counted;
  int worker;
  for (worker = 0; worker < decoding->workers; worker++)
    take_synthesis(decoding, width, height, rgb, fits(decoding->arena) ? &states[worker] : &counted);
  if (!fits(decoding->arena)) return LIC_MEMORY;
  run_all(decoding, synthesize_band, states);
  return LIC_OK;
}

/* ---- Streams ---- */

const char *lic_message(int status) {
  static const char *const messages[] = {
      "decoded",
      "the file is not a lic stream (it does not begin with LIC); give a file made by `lic compress`",
      "the stream or the model has another version; update this program",
      "the stream is truncated or too long; get the file again",
      "the stream is damaged (a checksum or the code is wrong); get the file again",
      "the stream was made by another model; give that model's receiver file",
      "the stream's coder is not built in; transcode it with `lic transcode --coder constriction`",
      "the image size is outside the format",
      "the model is not a receiver file, or damaged; write it again with `lic export-receiver`",
      "the memory given is too small"};
  return status >= 0 && status < (int)(sizeof messages / sizeof *messages) ? messages[status] : "unknown status";
}

int lic_image_size(const void *stream, size_t size, uint32_t *width, uint32_t *height) {
  const uint8_t *bytes = stream;
  if (size < 3 || memcmp(bytes, "LIC", 3)) return LIC_NOT_A_STREAM;
  if (size > 3 && bytes[3] != 1) return LIC_VERSION;
  if (size < STREAM_HEADER) return LIC_TRUNCATED;
  *height = get16(bytes + 9), *width = get16(bytes + 11);
  if (!*height || !*width || (uint64_t)*height * *width > (uint64_t)1 << 27) return LIC_SIZE;
  return LIC_OK;
}

/* Takes the memory of a decoding; everything but what the synthesis takes later. */
static void begin_decoding(struct decoding *decoding, const lic_model *model, struct arena *arena, uint32_t width,
                           uint32_t height, const struct lic_workers *workers) {
  size_t positions, symbols, window = 2 * WINDOW * WINDOW, terms;
  int table_count = model->prior == FACTORIZED ? model->channels : SCALES;
  memset(decoding, 0, sizeof *decoding);
  decoding->model = model, decoding->arena = arena, decoding->kernels = kernels_of_this_machine();
  decoding->workers = workers && workers->count > 1 ? workers->count : 1;
  if (workers) decoding->run = workers->run, decoding->pool = workers->pool;
  decoding->hyper_rows = (int)((height + HYPER_STRIDE - 1) / HYPER_STRIDE);
  decoding->hyper_columns = (int)((width + HYPER_STRIDE - 1) / HYPER_STRIDE);
  decoding->rows = 4 * decoding->hyper_rows, decoding->columns = 4 * decoding->hyper_columns;
  if (decoding->workers > decoding->rows) decoding->workers = decoding->rows;
  positions = (size_t)decoding->rows * (size_t)decoding->columns;
  symbols = positions * (size_t)model->channels;
  decoding->table_count = table_count;
  decoding->tables = TAKE(arena, uint32_t, (size_t)table_count * ((size_t)model->latent.components + 2));
  decoding->has_table = TAKE(arena, uint8_t, (size_t)table_count);
  decoding->order = TAKE(arena, uint32_t, symbols);
  decoding->index = TAKE(arena, uint16_t, symbols);
  if (positions / 16 * (size_t)model->hyper_channels > symbols) symbols = positions / 16 * (size_t)model->hyper_channels;
  decoding->symbols = TAKE(arena, int16_t, symbols);
  terms = window * (size_t)model->channels;
  if ((size_t)model->hyper_channels > terms) terms = (size_t)model->hyper_channels;
  if ((size_t)model->hyper_layer[0].outputs > terms) terms = (size_t)model->hyper_layer[0].outputs;
  if ((size_t)model->hyper_layer[1].outputs > terms) terms = (size_t)model->hyper_layer[1].outputs;
  if ((size_t)model->width > terms) terms = (size_t)model->width;
  terms += (size_t)(WINDOW * WINDOW * model->channels); /* the linear ones, at the end */
  decoding->terms = TAKE(arena, struct term, terms);
  decoding->term_count = terms;
  decoding->latent.rows = decoding->rows, decoding->latent.columns = decoding->columns;
  decoding->latent.channels = model->channels;
  decoding->latent.row_stride = (size_t)decoding->columns * (size_t)model->channels;
  decoding->latent.values = TAKE(arena, float, positions * (size_t)model->channels);
  decoding->hyper_latent.rows = decoding->hyper_rows, decoding->hyper_latent.columns = decoding->hyper_columns;
  decoding->hyper_latent.channels = model->hyper_channels;
  decoding->hyper_latent.row_stride = (size_t)decoding->hyper_columns * (size_t)model->hyper_channels;
  decoding->hyper_latent.values = TAKE(arena, float, positions / 16 * (size_t)model->hyper_channels);
  if (model->prior == CONTEXT) decoding->magnitudes = TAKE(arena, uint8_t, positions * (size_t)model->channels);
  if (!fits(arena)) return;
  if (decoding->magnitudes) memset(decoding->magnitudes, 0, positions * (size_t)model->channels);
  memset(decoding->has_table, 0, (size_t)table_count);
  memset(decoding->latent.values, 0, positions * (size_t)model->channels * sizeof(float));
}

size_t lic_decode_memory(const lic_model *model, uint32_t width, uint32_t height, int workers) {
  struct lic_workers counted = {workers, NULL, NULL};
  struct stage_work work;
  struct arena arena = {NULL, 0, 0};
  struct decoding decoding;
  struct quantizer quantizer;
  int layer, rows, columns;
  if (!width || !height || (uint64_t)width * height > (uint64_t)1 << 27) return 0;
  begin_decoding(&decoding, model, &arena, width, height, &counted);
  quantizer_at(&model->latent, 0, &arena, &quantizer);
  quantizer_at(&model->hyper, 0, &arena, &quantizer);
  take(&arena, (size_t)model->hyper.components + 2, 4);
  rows = decoding.hyper_rows, columns = decoding.hyper_columns;
  for (layer = 0; layer < model->hyper_layers; layer++) {
    output_of(&model->hyper_layer[layer], rows, columns, &arena);
    rows *= model->hyper_layer[layer].stride, columns *= model->hyper_layer[layer].stride;
  }
  take_stage_work(&decoding, &work);
  take(&arena, (size_t)decoding.table_count, (STAGES + 1) * 64);
  synthesize(&decoding, (int)width, (int)height, NULL);
  return arena.used > SIZE_MAX - 1024 ? SIZE_MAX : arena.used + 1024;
}

int lic_decode(const lic_model *model, const void *stream, size_t size, void *memory, size_t capacity, uint8_t *rgb,
               const struct lic_workers *workers) {
  const uint8_t *bytes = stream;
  struct arena arena = {memory, 0, capacity};
  struct range_decoder decoder;
  struct decoding decoding;
  uint32_t width, height, rate;
  uint64_t hyper_size, latent_size;
  const uint8_t *latent_bytes;
  int status = lic_image_size(stream, size, &width, &height);
  if (status) return status;
  if (bytes[4]) return LIC_CODER;
  hyper_size = get32(bytes + 15), latent_size = get32(bytes + 19);
  if (STREAM_HEADER + hyper_size + latent_size != size) return LIC_TRUNCATED;
  latent_bytes = bytes + STREAM_HEADER + hyper_size;
  if (crc32_of(crc32_of(0, bytes, STREAM_HEADER - 8), bytes + STREAM_HEADER, (size_t)hyper_size) != get32(bytes + 23) ||
      crc32_of(0, latent_bytes, (size_t)latent_size) != get32(bytes + 27) || hyper_size % 4 || latent_size % 4)
    return LIC_DAMAGED;
  if (memcmp(bytes + 5, model->fingerprint, 4)) return LIC_OTHER_MODEL;
  rate = get16(bytes + 13);
  if (rate > 256 * ((uint32_t)model->rates - 1)) return LIC_DAMAGED;
  begin_decoding(&decoding, model, &arena, width, height, workers);
  quantizer_at(&model->latent, rate, &arena, &decoding.quantizer);
  quantizer_at(&model->hyper, rate, &arena, &decoding.hyper_quantizer);
  if (!fits(&arena)) return LIC_MEMORY;
  if (model->prior != FACTORIZED) {
    status = decode_hyper_latent(&decoding, bytes + STREAM_HEADER, (size_t)hyper_size);
    if (status) return status;
    run_hyper_synthesis(&decoding);
    if (!fits(&arena)) return LIC_MEMORY;
  } else if (hyper_size) {
    return LIC_DAMAGED;
  }
  begin_range(&decoder, latent_bytes, (size_t)latent_size);
  status = model->prior == FACTORIZED ? decode_factorized(&decoding, &decoder)
           : model->prior == CONTEXT  ? decode_context(&decoding, &decoder)
                                      : decode_hyperprior(&decoding, &decoder);
  if (!status && !is_at_end(&decoder)) status = LIC_DAMAGED;
  return status ? status : synthesize(&decoding, (int)width, (int)height, rgb);
}

/* ---- The hot loops: this file includes its last part once for each instruction set ---- */

#define LIC_KERNELS

#define NAME(name) name##_plain
#define TARGET
#if defined(LIC_VECTORS)
#define WIDTH 4
#define VECTOR vector4
#define INTEGERS integers4
#else
#define WIDTH 1
#define VECTOR float
#endif
#define MADD(sum, a, b) ((sum) + (a) * (b))
#if defined(LIC_VECTORS) && defined(__SSE__)
#define NOT_ZERO(vector) (unsigned)_mm_movemask_ps(_mm_cmpneq_ps((__m128)(vector), _mm_setzero_ps()))
#define LARGER(a, b) ((vector4)_mm_max_ps((__m128)(a), (__m128)(b)))
#define SMALLER(a, b) ((vector4)_mm_min_ps((__m128)(a), (__m128)(b)))
#endif
#if defined(LIC_VECTORS)
typedef float vector4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t integers4 __attribute__((vector_size(16), aligned(4), may_alias));
#endif
#include "lic.c"

#if defined(LIC_VECTORS) && defined(__x86_64__)
typedef int32_t integers8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float vector8 __attribute__((vector_size(32), aligned(4), may_alias));
#define NAME(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define WIDTH 8
#define VECTOR vector8
#define INTEGERS integers8
#define LARGER(a, b) ((vector8)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define SMALLER(a, b) ((vector8)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define NOT_ZERO(vector) (unsigned)_mm256_movemask_ps(_mm256_cmp_ps((__m256)(vector), _mm256_setzero_ps(), _CMP_NEQ_UQ))
#define MADD(sum, a, b) ((vector8)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(sum)))
#include "lic.c"

typedef int32_t integers16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef float vector16 __attribute__((vector_size(64), aligned(4), may_alias));
#define NAME(name) name##_avx512
#if defined(__clang__)
#define TARGET __attribute__((target("avx512f")))
#else
#define TARGET __attribute__((target("avx512f,prefer-vector-width=512")))
#endif
#define WIDTH 16
#define VECTOR vector16
#define INTEGERS integers16
#define LARGER(a, b) ((vector16)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define SMALLER(a, b) ((vector16)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define NOT_ZERO(vector) (unsigned)_mm512_cmp_ps_mask((__m512)(vector), _mm512_setzero_ps(), _CMP_NEQ_UQ)
#define MADD(sum, a, b) ((vector16)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(sum)))
#include "lic.c"
#endif

#define KERNELS(set) \
  {add_rows_##set, collect_##set, activate_##set, means_##set, indexes_##set, normalize_##set, image_row_##set, to_bytes_##set}

static const struct kernels *kernels_of_this_machine(void) {
  static const struct kernels plain = KERNELS(plain);
#if defined(LIC_VECTORS) && defined(__x86_64__)
  static const struct kernels avx2 = KERNELS(avx2);
  static const struct kernels avx512 = KERNELS(avx512);
  if (__builtin_cpu_supports("avx512f")) return &avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &avx2;
#endif
  return &plain;
}

#else /* LIC_KERNELS: the part that is included */

#define MOST 12 /* vectors of sums in registers */

#if defined(LIC_VECTORS)
#define INLINE TARGET static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

INLINE void NAME(add_to)(int vectors, float *sum, const float *matrix, size_t stride, const struct term *terms,
                         int count) {
  VECTOR sums[MOST];
  int index, vector;
  for (vector = 0; vector < vectors; vector++) sums[vector] = *(const VECTOR *)(sum + WIDTH * vector);
  for (index = 0; index < count; index++) {
    const float *row = matrix + terms[index].row * stride;
    VECTOR value = terms[index].value - (VECTOR){0};
    for (vector = 0; vector < vectors; vector++)
      sums[vector] = MADD(sums[vector], value, *(const VECTOR *)(row + WIDTH * vector));
  }
  for (vector = 0; vector < vectors; vector++) *(VECTOR *)(sum + WIDTH * vector) = sums[vector];
}

TARGET static void NAME(add_rows)(float *sum, int width, const float *matrix, size_t stride, const struct term *terms,
                                  int count) {
  int left = width / WIDTH, chunks = (left + MOST - 1) / MOST;
  while (left > 0) {
    int vectors = (left + chunks - 1) / chunks;
    switch (vectors) {
#define CASE(n) case n: NAME(add_to)(n, sum, matrix, stride, terms, count); break;
      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#undef CASE
    }
    sum += WIDTH * vectors, matrix += WIDTH * vectors;
    left -= vectors, chunks--;
  }
}

TARGET static void NAME(image_row)(float *sums, int width, const float *const *rows, const float *const *kernels,
                                   int count, int channels, int halo, size_t row_stride) {
  int column, index, d, channel, sum;
  for (column = 0; column < width; column += WIDTH) {
    VECTOR own[6];
    for (sum = 0; sum < 6; sum++) own[sum] = (VECTOR){0};
    for (index = 0; index < count; index++) {
      const float *kernel = kernels[index];
      for (d = -halo; d <= halo; d++) {
        const float *values = rows[index] + (halo + column - d);
        for (channel = 0; channel < channels; channel++, kernel += 8, values += row_stride) {
          VECTOR value = *(const VECTOR *)values;
          for (sum = 0; sum < 6; sum++) own[sum] = MADD(own[sum], value, kernel[sum] - (VECTOR){0});
        }
      }
    }
    for (sum = 0; sum < 6; sum++) *(VECTOR *)(sums + (size_t)sum * (size_t)width + column) = own[sum];
  }
}

TARGET static int NAME(collect)(const float *values, int count, uint32_t first, struct term *terms) {
  int index = 0, found = 0;
#if defined(NOT_ZERO)
  for (; index + WIDTH <= count; index += WIDTH) {
    unsigned mask = NOT_ZERO(*(const VECTOR *)(values + index));
    for (; mask; mask &= mask - 1) {
      int own = index + __builtin_ctz(mask);
      terms[found].row = first + (uint32_t)own, terms[found++].value = values[own];
    }
  }
#endif
  for (; index < count; index++)
    if (values[index] != 0) terms[found].row = first + (uint32_t)index, terms[found++].value = values[index];
  return found;
}

/* Applies a macro to vectors of WIDTH numbers at `index`, and to the numbers that are left over. */
#if defined(LARGER)
#define EACH(count, apply)                                         \
  do {                                                             \
    for (index = 0; index + WIDTH <= (count); index += WIDTH)      \
      apply(NAME(floor), NAME(clip), *(const VECTOR *), *(VECTOR *)) \
    for (; index < (count); index++) apply(floor_of, clipped, *(const float *), *(float *)) \
  } while (0)

INLINE VECTOR NAME(floor)(VECTOR value) {
  VECTOR whole = __builtin_convertvector(__builtin_convertvector(value, INTEGERS), VECTOR);
  return whole + __builtin_convertvector((INTEGERS)(whole > value), VECTOR);
}

INLINE VECTOR NAME(clip)(VECTOR value, float low, float high) {
  const VECTOR zero = {0};
  return SMALLER(LARGER(value, low - zero), high - zero);
}
#else
#define EACH(count, apply)                                                                \
  do {                                                                                    \
    for (index = 0; index < (count); index++) apply(floor_of, clipped, *(const float *), *(float *)) \
  } while (0)
#endif

#define FINE(FLOOR, CLIP, value) (FLOOR(CLIP(value, -4096, 4096) * 1024 + 0.5f) * 0.0009765625f)

TARGET static void NAME(activate)(enum activation kind, float *values, const float *bias, const float *scale,
                                  int count) {
  int index;
#define WITHOUT_BIAS(FLOOR, CLIP, GET, SET) \
  SET(values + index) = FLOOR(CLIP(GET(values + index), 0, 255.0f / 16) * 16 + 0.5f) * 0.0625f;
#define HIDDEN(FLOOR, CLIP, GET, SET) \
  SET(values + index) = FLOOR(CLIP(GET(values + index) + GET(bias + index), 0, 255.0f / 16) * 16 + 0.5f) * 0.0625f;
#define LAST(FLOOR, CLIP, GET, SET) \
  SET(values + index) = FINE(FLOOR, CLIP, GET(values + index) + GET(bias + index));
#define INTEGER(FLOOR, CLIP, GET, SET) \
  SET(values + index) = FLOOR(CLIP((GET(values + index) + GET(bias + index)) * GET(scale + index), 0, 255));
#define SCALED(FLOOR, CLIP, GET, SET) \
  SET(values + index) = (GET(values + index) + GET(bias + index)) * GET(scale + index);
  if (kind == GRID_HIDDEN && !bias) EACH(count, WITHOUT_BIAS);
  if (kind == GRID_HIDDEN && bias) EACH(count, HIDDEN);
  if (kind == GRID_LAST) EACH(count, LAST);
  if (kind == INTEGER_HIDDEN) EACH(count, INTEGER);
  if (kind == INTEGER_LAST) EACH(count, SCALED);
#undef WITHOUT_BIAS
#undef HIDDEN
#undef LAST
#undef INTEGER
#undef SCALED
}

TARGET static void NAME(means)(float *means, const float *before, const float *change, int count) {
  int index;
#define MEAN(FLOOR, CLIP, GET, SET) \
  SET(means + index) = FLOOR((GET(before + index) + FINE(FLOOR, CLIP, GET(change + index))) * 8 + 0.5f) * 0.125f;
  EACH(count, MEAN);
#undef MEAN
}

TARGET static void NAME(indexes)(float *indexes, const float *before, const float *change, int count) {
  int index;
#define SCALE(FLOOR, CLIP, GET, SET) \
  SET(indexes + index) =             \
      FLOOR(CLIP(8 * (GET(before + index) + FINE(FLOOR, CLIP, GET(change + index))) + 0.5f, 0, SCALES - 1));
  EACH(count, SCALE);
#undef SCALE
}

TARGET static void NAME(to_bytes)(float *values, int count, float bias) {
  int index;
#define BYTE(FLOOR, CLIP, GET, SET) \
  SET(values + index) = FLOOR(CLIP((GET(values + index) + (bias + 0.5f)) * 255, 0, 255) + 0.5f);
  EACH(count, BYTE);
#undef BYTE
}

INLINE void NAME(normalize_by)(int vectors, float *values, int count, int channels, const float *bias,
                               const float *beta, const float *gamma, float least) {
  int position, out, in, padded = (int)PADDED(channels);
  float own[MOST_HIDDEN] = {0};
  for (position = 0; position < count; position++, values += channels) {
    VECTOR sums[MOST];
    for (out = 0; out < vectors; out++) sums[out] = *(const VECTOR *)(beta + out * WIDTH);
    for (in = 0; in < channels; in++) {
      float value = values[in] + bias[in];
      VECTOR magnitude = fabsf(value) - (VECTOR){0};
      values[in] = value;
      for (out = 0; out < vectors; out++)
        sums[out] = MADD(sums[out], magnitude, *(const VECTOR *)(gamma + in * padded + out * WIDTH));
    }
    for (out = 0; out < vectors; out++) *(VECTOR *)(own + out * WIDTH) = sums[out];
    for (out = 0; out < channels; out++) values[out] *= own[out] < least ? least : own[out];
  }
}

/* Wide layers, which no published model has, take the general way. */
TARGET static void NAME(normalize)(float *values, int count, int channels, const float *bias, const float *beta,
                                   const float *gamma, float least) {
  int vectors = (channels + WIDTH - 1) / WIDTH, position, in;
  switch (vectors) {
#define CASE(n) case n: NAME(normalize_by)(n, values, count, channels, bias, beta, gamma, least); return;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#undef CASE
  }
  for (position = 0; position < count; position++, values += channels) {
    float own[MOST_HIDDEN];
    struct term terms[MOST_HIDDEN];
    memcpy(own, beta, PADDED(channels) * sizeof *own);
    for (in = 0; in < channels; in++) {
      values[in] += bias[in];
      terms[in].row = (uint32_t)in, terms[in].value = fabsf(values[in]);
    }
    NAME(add_rows)(own, (int)PADDED(channels), gamma, PADDED(channels), terms, channels);
    for (in = 0; in < channels; in++) values[in] *= own[in] < least ? least : own[in];
  }
}

#undef EACH
#undef FINE
#undef LARGER
#undef SMALLER
#undef INTEGERS
#undef INLINE
#undef MOST
#undef NAME
#undef NOT_ZERO
#undef TARGET
#undef WIDTH
#undef VECTOR
#undef MADD

#endif
