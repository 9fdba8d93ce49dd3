/* stack_tools: what sanitizers, valgrind, unwinders and the metrics have to know about a fiber's stack. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define STACK_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define STACK_ASAN 1
#endif

#ifdef STACK_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

/* Right before a switch, and right after it on the other side. */
static inline void stack_leaving(void **ret_fake, const void *bottom, size_t size)
{
#ifdef STACK_ASAN
    __sanitizer_start_switch_fiber(ret_fake, bottom, size);
#else
    (void)ret_fake, (void)bottom, (void)size;
#endif
}

/* The bounds of the stack that was left are stored where ret_bottom is not NULL. */
static inline void stack_arrived(void *fake, const void **ret_bottom, size_t *ret_size)
{
#ifdef STACK_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(fake, &bottom, &size);
    if (ret_bottom) {
        *ret_bottom = bottom;
        *ret_size = size;
    }
#else
    (void)fake, (void)ret_bottom, (void)ret_size;
#endif
}

unsigned stack_register(const void *bottom, const void *top);
void stack_unregister(unsigned id, void *base, size_t size);
struct stack;
/* Lays the first frame, for fiber_switch to find; returns its stack pointer. */
void *stack_prepare(struct stack *s);
/* From the top down to the lowest page that was ever touched. */
uint32_t stack_used_bytes(char *bottom, size_t size);
/* To stderr, without the heap. */
void stack_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void stack_print_backtrace(void);
