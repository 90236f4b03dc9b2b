/* lic-decode MODEL STREAM OUT.png|OUT.ppm: decodes a stream by a receiver file (`lic export-receiver`). */
#include "lic.h"
#if defined(LIC_THREADS) /* the number of threads; link threads.c */
#include "threads.h"
#define WORKERS {LIC_THREADS, lic_run_threads, NULL}
#else
#define WORKERS {1, NULL, NULL}
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  uint8_t *bytes = NULL;
  long end;
  if (file && !fseek(file, 0, SEEK_END) && (end = ftell(file)) >= 0) {
    *size = (size_t)end;
    bytes = malloc(*size + 1);
    rewind(file);
    if (bytes && fread(bytes, 1, *size, file) != *size) free(bytes), bytes = NULL;
  }
  if (file) fclose(file);
  if (!bytes) fprintf(stderr, "lic-decode: %s cannot be read; check the path\n", path);
  return bytes;
}

static void *aligned(size_t size, void **block) {
  *block = size > SIZE_MAX - 64 ? NULL : malloc(size + 64);
  return *block ? (void *)(((uintptr_t)*block + 63) / 64 * 64) : NULL;
}

/* ---- PNG without compression: nothing to get wrong, and as fast as the disk ---- */

static uint32_t crc_of(uint32_t crc, const uint8_t *bytes, size_t size) {
  int bit;
  for (crc = ~crc; size--; bytes++)
    for (crc ^= *bytes, bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  return ~crc;
}

static void put32(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 24), at[1] = (uint8_t)(value >> 16), at[2] = (uint8_t)(value >> 8), at[3] = (uint8_t)value;
}

static int write_chunk(FILE *file, const char *name, const uint8_t *data, size_t size) {
  uint8_t head[8], tail[4];
  put32(head, (uint32_t)size);
  memcpy(head + 4, name, 4);
  put32(tail, crc_of(crc_of(0, head + 4, 4), data, size));
  return fwrite(head, 1, 8, file) == 8 && fwrite(data, 1, size, file) == size && fwrite(tail, 1, 4, file) == 4;
}

static int write_png(FILE *file, const uint8_t *rgb, uint32_t width, uint32_t height) {
  uint8_t header[13] = {0}, *data, *at;
  size_t row = 3 * (size_t)width + 1, left = row * height, blocks = (left + 65534) / 65535, index, column = 0;
  uint32_t low = 1, high = 0;
  int written;
  data = malloc(left + 5 * blocks + 6);
  if (!data) return 0;
  at = data;
  *at++ = 0x78, *at++ = 1;
  while (left) {
    size_t size = left < 65535 ? left : 65535;
    left -= size;
    *at++ = left == 0;
    *at++ = (uint8_t)size, *at++ = (uint8_t)(size >> 8), *at++ = (uint8_t)~size, *at++ = (uint8_t)(~size >> 8);
    for (index = 0; index < size; index++, column = column + 1 == row ? 0 : column + 1) {
      *at = column ? *rgb++ : 0;
      low = (low + *at++) % 65521, high = (high + low) % 65521;
    }
  }
  put32(at, high << 16 | low);
  put32(header, width), put32(header + 4, height);
  header[8] = 8, header[9] = 2;
  written = fwrite("\x89PNG\r\n\x1a\n", 1, 8, file) == 8 && write_chunk(file, "IHDR", header, 13) &&
            write_chunk(file, "IDAT", data, (size_t)(at + 4 - data)) && write_chunk(file, "IEND", header, 0);
  free(data);
  return written;
}

static int write_image(const char *path, const uint8_t *rgb, uint32_t width, uint32_t height) {
  size_t length = strlen(path), size = 3 * (size_t)width * height;
  FILE *file;
  char *beside = malloc(length + 6);
  int written;
  if (!beside) return 0;
  memcpy(beside, path, length), memcpy(beside + length, ".part", 6);
  file = fopen(beside, "wb");
  if (!file) {
    free(beside);
    return 0;
  }
  if (length > 4 && !strcmp(path + length - 4, ".png"))
    written = write_png(file, rgb, width, height);
  else
    written = fprintf(file, "P6\n%u %u\n255\n", (unsigned)width, (unsigned)height) > 0 && fwrite(rgb, 1, size, file) == size;
  written = !fclose(file) && written && !rename(beside, path);
  if (!written) remove(beside);
  free(beside);
  return written;
}

static int failed(const char *path, int status) {
  fprintf(stderr, "lic-decode: %s: %s\n", path, lic_message(status));
  return 2;
}

/* Decodes by an opened model; returns the exit status. */
static int decode(const lic_model *model, const char *from, const uint8_t *stream, size_t size, const char *to) {
  const struct lic_workers workers = WORKERS;
  uint32_t width, height;
  size_t needed;
  void *block = NULL, *memory;
  uint8_t *rgb;
  int status = lic_image_size(stream, size, &width, &height);
  if (status) return failed(from, status);
  needed = lic_decode_memory(model, width, height, workers.count);
  memory = aligned(needed, &block);
  rgb = malloc(3 * (size_t)width * height);
  status = memory && rgb ? lic_decode(model, stream, size, memory, needed, rgb, &workers) : LIC_MEMORY;
  free(block);
  if (status) {
    status = failed(from, status);
  } else if (!write_image(to, rgb, width, height)) {
    fprintf(stderr, "lic-decode: %s cannot be written; check the folder and the space on the disk\n", to);
    status = 2;
  }
  free(rgb);
  return status;
}

int main(int argc, char **argv) {
  size_t model_size = 0, stream_size = 0, needed;
  uint8_t *model_file, *stream;
  void *block = NULL, *memory;
  lic_model *model;
  int status;
  if (argc != 4) {
    fprintf(stderr, "usage: lic-decode MODEL STREAM OUT.png|OUT.ppm\n"
                    "MODEL is a receiver file, written by `lic export-receiver`.\n");
    return 2;
  }
  model_file = read_file(argv[1], &model_size);
  stream = model_file ? read_file(argv[2], &stream_size) : NULL;
  if (stream) {
    needed = lic_model_memory(model_file, model_size);
    memory = needed ? aligned(needed, &block) : NULL;
    status = !needed ? LIC_BAD_MODEL : memory ? lic_open(model_file, model_size, memory, needed, &model) : LIC_MEMORY;
    status = status ? failed(argv[1], status) : decode(model, argv[2], stream, stream_size, argv[3]);
  } else {
    status = 2;
  }
  free(block), free(stream), free(model_file);
  return status;
}
