/* coder: one stream through zlib, brotli or zstd, in either direction, behind one interface.
 *
 *      in  [a piece][a piece] ──▶ coder_run ──▶ [out, a buffer of its own]
 *
 * All memory, the library's included, comes from the worker's pool (gate/block_pool.h). How much the
 * streams of a worker may take together is said by whoever opens one: an encoder is refused at the start when
 * its estimate does not fit any more; a decoder, whose need the peer decides, fails when it gets there.
 * Encoders and decoders have a pool each, so that one cannot starve the other. The calls wait for nothing;
 * one run is at most CODER_PIECE_BYTES of input or output. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "proto/content_coding.h"

#define CODER_PIECE_BYTES (16 * 1024)
#define CODER_ROOM_MIN 16

/* The window of brotli and zstd: what a client has to keep in memory (RFC 9659 lets zstd ask for 8 MiB at
 * most, which is also what our decoders take). gzip's is 32 KiB. */
#define CODER_WINDOW_BITS_MIN 14
#define CODER_WINDOW_BITS_MAX 23

struct coder_opts {
    enum content_coding coding; /* not CODING_IDENTITY */
    int level;                  /* encoders: within coder_levels */
    unsigned window_bits;       /* encoders of br and zstd */
    uint64_t length; /* encoders: of the input, UINT64_MAX when it is not known: a short one needs less */
    size_t memory_bytes_max; /* of all streams of this direction on this worker */
};

/* Is there a library for it in this build? */
bool coder_has(enum content_coding coding);
struct coder_levels {
    int min, max, preset;
};
/* Of a coding that can be encoded: gzip, br, zstd. */
struct coder_levels coder_levels(enum content_coding coding);

enum coder_flush {
    CODER_RUN,   /* as it comes */
    CODER_FLUSH, /* what was taken so far shall be readable by the peer */
    CODER_END    /* there is no more input */
};

struct coder_ops;

struct coder {
    const struct coder_ops *ops;
    bool decodes;
    bool out_of_memory;      /* a decoder was refused some */
    size_t used_bytes;       /* now, by this stream */
    size_t reserved_bytes;   /* encoders: the estimate */
    size_t memory_bytes_max; /* decoders */
};

struct coder_ops {
    bool decodes;
    enum content_coding coding;
    struct coder_levels levels;
    size_t size;
    size_t (*estimate)(const struct coder_opts *o);
    err (*open)(struct coder *c, const struct coder_opts *o);
    err (*run)(struct coder *c, struct bytes *in, char **out, size_t *room, enum coder_flush flush,
               bool *ret_done);
    void (*close)(struct coder *c);
};

/* ERR_LIMIT: no memory left for it. ERR_UNSUPPORTED: not in this build, or not in that direction. */
err encoder_open(const struct coder_opts *o, struct coder **ret_coder) CHECK_RESULT;
err decoder_open(const struct coder_opts *o, struct coder **ret_coder) CHECK_RESULT;
/* Takes from *in (moving it on) and writes to *out (moving it and *room on) until either is used up.
 * With CODER_FLUSH there is room for CODER_ROOM_MIN or more: zlib begins its mark anew in less.
 * ret_done   encoders: with CODER_FLUSH or _END nothing is left inside; decoders: the stream has ended here
 *            (what follows may be another one: gzip's members, zstd's frames; br has none)
 * ERR_SYNTAX: no such stream, or a corrupt one. ERR_LIMIT: a decoder needs more memory than there is. */
err coder_run(struct coder *c, struct bytes *in, char **out, size_t *room, enum coder_flush flush,
              bool *ret_done) CHECK_RESULT;
/* NULL is allowed. */
void coder_close(struct coder *c);

/* A buffer from the same pools, given back by coder_buffer_put. */
char *coder_buffer_get(const struct coder *c, size_t size);
void coder_buffer_put(const struct coder *c, char *buffer);

/* Bytes that streams of this worker have taken now: of encoders (reserved) or decoders. */
size_t coder_memory_used(bool decoders);

/* ---- for the files of the libraries */
void *coder_get(struct coder *c, size_t size);
void coder_put(struct coder *c, void *memory);

extern const struct coder_ops coder_gzip_encoder, coder_gzip_decoder, coder_deflate_decoder;
extern const struct coder_ops coder_br_encoder, coder_br_decoder;
extern const struct coder_ops coder_zstd_encoder, coder_zstd_decoder;
