/* A decoder of .lic streams, for devices: one C99 file and this header, no dependency but the C library.

   Nothing here allocates memory or has state of its own. The caller gives memory, whose size a function tells; so a
   broken or hostile stream can cost no more than the caller allows. docs/native.md shows a whole program. */
#ifndef LIC_H
#define LIC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a function found. */
enum lic_status {
  LIC_OK = 0,
  LIC_NOT_A_STREAM,  /* the bytes do not begin as a stream does */
  LIC_VERSION,       /* a stream or a model of another version */
  LIC_TRUNCATED,     /* fewer or more bytes than the header says */
  LIC_DAMAGED,       /* a checksum or the code is wrong */
  LIC_OTHER_MODEL,   /* the stream was made by another model */
  LIC_CODER,         /* the stream's coder is not built in */
  LIC_SIZE,          /* an image size outside the format */
  LIC_BAD_MODEL,     /* not a receiver file, or damaged */
  LIC_MEMORY         /* the memory given is too small */
};

/* A model that was opened; it lives in the memory given to lic_open. */
typedef struct lic_model lic_model;

/* Returns a sentence for a status. */
const char *lic_message(int status);

/* Returns the bytes of memory that lic_open needs for a receiver file, 0 if it is none. */
size_t lic_model_memory(const void *file, size_t size);

/* Opens a receiver file (`lic export-receiver`). The file's bytes are not used afterwards.
   memory: aligned to 64 bytes, kept by the caller for as long as the model is used. */
int lic_open(const void *file, size_t size, void *memory, size_t capacity, lic_model **model);

/* Reads an image's size from the first bytes of a stream. */
int lic_image_size(const void *stream, size_t size, uint32_t *width, uint32_t *height);

/* A part of the work. */
typedef void lic_job(void *argument, int index);

/* Workers for one decoding. `run` calls job(argument, 0) to job(argument, count - 1), best at the same time, and returns
   when all are done. native/threads.c has one for POSIX threads. */
struct lic_workers {
  int count;
  void (*run)(void *pool, lic_job *job, void *argument, int count);
  void *pool; /* handed to run */
};

/* Returns the bytes of memory that lic_decode needs for an image of this size; workers: how many, 1 for none beside. */
size_t lic_decode_memory(const lic_model *model, uint32_t width, uint32_t height, int workers);

/* Decodes a stream to RGB bytes [height][width][3]. The number of workers changes no pixel.
   memory: aligned to 64 bytes; free again when the function returns.
   workers: NULL for none. */
int lic_decode(const lic_model *model, const void *stream, size_t size, void *memory, size_t capacity, uint8_t *rgb,
               const struct lic_workers *workers);

#ifdef __cplusplus
}
#endif
#endif
