/* What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput: libFuzzer drives it under
 * clang, replay_main.c runs the kept corpus through it under any compiler. An input that breaks an invariant
 * aborts. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_check(condition) \
    do {                      \
        if (!(condition))     \
            abort();          \
    } while (0)

/* Of a target whose library is not there. */
#define FUZZ_NOTHING                                             \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) \
    {                                                            \
        (void)data;                                              \
        (void)size;                                              \
        return 0;                                                \
    }
