/* http2_memory: what libnghttp2 allocates, from free lists of this worker: it allocates for each stream,
 * frame and field, and the heap is not for the request path. Blocks of a few sizes are kept as long as the
 * worker lives. */
#pragma once
#include <nghttp2/nghttp2.h>

/* This worker's; a session made with it stays on this worker. */
nghttp2_mem *http2_memory(void);
