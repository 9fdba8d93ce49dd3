#include "core/stack_tools.h"

#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/must.h"
#include "core/fiber_internal.h"

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif

unsigned stack_register(const void *bottom, const void *top)
{
#ifdef VALGRIND_STACK_REGISTER
    return VALGRIND_STACK_REGISTER(bottom, top);
#else
    (void)bottom, (void)top;
    return 0;
#endif
}

void stack_unregister(unsigned id, void *base, size_t size)
{
    (void)id, (void)base, (void)size;
#ifdef VALGRIND_STACK_REGISTER
    VALGRIND_STACK_DEREGISTER(id);
#endif
#ifdef STACK_ASAN
    __asan_unpoison_memory_region(base, size);
#endif
}

void *stack_prepare(struct stack *s)
{
    void **sp = (void **)(void *)s;
#if defined(__x86_64__)
    /* r15 r14 r13 r12 rbx rbp rip, and a word so that fiber_entry's call finds the stack aligned */
    *--sp = NULL;
    *--sp = NULL;
    *--sp = (void *)(uintptr_t)fiber_entry;
    *--sp = NULL;
    *--sp = NULL;
    *--sp = s; /* r12 */
    *--sp = NULL;
    *--sp = NULL;
    *--sp = NULL;
#elif defined(__aarch64__)
    sp -= 20;
    sp[0] = NULL;                           /* x29 */
    sp[1] = (void *)(uintptr_t)fiber_entry; /* x30 */
    sp[2] = s;                              /* x19 */
#endif
    return sp;
}

uint32_t stack_used_bytes(char *bottom, size_t size)
{
    unsigned char resident[64];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = size / page;
    must(pages <= sizeof resident);
    if (mincore(bottom, size, resident) != 0)
        return 0;
    size_t untouched = 0;
    while (untouched < pages && !(resident[untouched] & 1))
        untouched++;
    return (uint32_t)(size - untouched * page);
}

void stack_print(const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1) < 0)
        return;
}

void stack_print_backtrace(void)
{
    void *frames[32];
    int n = backtrace(frames, 32);
    if (n > 1)
        backtrace_symbols_fd(frames + 1, n - 1, STDERR_FILENO);
}
