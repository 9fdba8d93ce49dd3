#include "gate/shared.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "base/test.h"
#include "gate/filter.h"
#include "gate/service.h"

static void same_name_same_memory(void **state)
{
    (void)state;
    uint64_t *a = shared_get(BYTES("limit /api"), 64);
    uint64_t *b = shared_get(BYTES("limit /api"), 64);
    uint64_t *other = shared_get(BYTES("limit /api/"), 64);
    assert_non_null(a);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, other);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(a[i], 0);
    a[7] = 42;
    shared_put(a);
    assert_int_equal(b[7], 42); /* one hold is left */
    assert_ptr_equal(shared_get(BYTES("limit /api"), 64), b);
    shared_put(b);
    shared_put(b);
    a = shared_get(BYTES("limit /api"), 64);
    assert_int_equal(a[7], 0); /* made anew */
    shared_put(a);
    shared_put(other);
    shared_put(NULL);
}

static void another_size_is_refused(void **state)
{
    (void)state;
    void *a = shared_get(BYTES("table"), 4096);
    assert_null(shared_get(BYTES("table"), 8192));
    assert_ptr_equal(shared_get(BYTES("table"), 4096), a); /* the refusal took no hold, nor gave one */
    shared_put(a);
    shared_put(a);
    void *b = shared_get(BYTES("table"), 8192);
    assert_non_null(b);
    shared_put(b);
}

static void names_may_hold_anything(void **state)
{
    (void)state;
    void *a = shared_get(((struct bytes){ "a\0b", 3 }), 8);
    void *b = shared_get(((struct bytes){ "a\0c", 3 }), 8);
    assert_ptr_not_equal(a, b);
    shared_put(a);
    shared_put(b);
}

static void memory_fails(void **state)
{
    (void)state;
    void *a = NULL;
    uint64_t n = 1;
    for (; !a; n++) {
        mem_fail_at(n);
        a = shared_get(BYTES("fails"), 128);
        mem_fail_at(0);
    }
    assert_true(n > 3);
    void *b = shared_get(BYTES("fails"), 128); /* what failed has left nothing behind under that name */
    assert_ptr_equal(a, b);
    shared_put(a);
    shared_put(b);
}

static void servers(void **state)
{
    (void)state;
    struct addr one;
    struct addr two;
    assert_int_equal(addr_parse(BYTES("10.0.0.1:80"), &one), OK);
    assert_int_equal(addr_parse(BYTES("[::1]:80"), &two), OK);
    struct server_shared *a = server_shared_get(BYTES("shop"), &one);
    struct server_shared *b = server_shared_get(BYTES("shop"), &two);
    struct server_shared *c = server_shared_get(BYTES("pay"), &one);
    assert_true(a != b && a != c && b != c);
    assert_string_equal(a->text, "10.0.0.1:80");
    assert_string_equal(b->text, "[::1]:80");
    atomic_store(&a->down, 1);
    server_shared_hold(a);
    server_shared_drop(a);
    struct server_shared *again = server_shared_get(BYTES("shop"), &one); /* over a reload */
    assert_ptr_equal(again, a);
    assert_int_equal(atomic_load(&again->down), 1);
    server_shared_drop(a);
    server_shared_drop(again);
    server_shared_drop(b);
    server_shared_drop(c);
    a = server_shared_get(BYTES("shop"), &one);
    assert_int_equal(atomic_load(&a->down), 0); /* nobody held it any more: forgotten */
    server_shared_drop(a);
}

/* What the other process would be told. */
struct told {
    char names[4][64];
    uint64_t offsets[4], sizes[4];
    unsigned count;
};

static void tell(void *arg, struct bytes name, uint64_t offset, uint64_t size)
{
    struct told *t = arg;
    assert_true(t->count < 4);
    snprintf(t->names[t->count], 64, "%.*s", BYTES_ARG(name));
    t->offsets[t->count] = offset;
    t->sizes[t->count++] = size;
}

/* The new process: what it adopts is the same memory; what it does not ask for it keeps until the old one has
 * ended; what is no object of the area is refused. Exits 0. */
static void next_process(int fd, uint64_t end, const struct told *t)
{
    must(shared_adopt_area(fd, end) == OK);
    for (unsigned i = 0; i < t->count; i++)
        must(shared_adopt(bytes_from(t->names[i]), t->offsets[i], t->sizes[i]) == OK);
    must(shared_adopt(BYTES("twice"), t->offsets[0], t->sizes[0]) == ERR_SYNTAX);
    must(shared_adopt(BYTES("beyond"), end, 64) == ERR_SYNTAX);
    must(shared_adopt(BYTES("odd"), 1, 64) == ERR_SYNTAX);
    _Atomic uint64_t *limit = shared_get(BYTES("limit"), 64);
    must(limit && atomic_load(limit) == 42);
    atomic_store(limit, 43);
    uint64_t *other = shared_get(BYTES("other size"), 64); /* was 8192: another layout, begins at zero */
    must(other && other[0] == 0);
    uint64_t *fresh = shared_get(BYTES("fresh"), 8192);
    must(fresh && fresh[0] == 0 && fresh[1023] == 0);
    *fresh = 9;
    shared_put(limit); /* the old process may hold it: found again as it was */
    limit = shared_get(BYTES("limit"), 64);
    must(atomic_load(limit) == 43);
    shared_put(limit);
    shared_settle();
    limit = shared_get(BYTES("limit"), 64);
    must(atomic_load(limit) == 0); /* nobody held it when the old one ended */
    _exit(0);
}

static void the_next_process_goes_on_with_it(void **state)
{
    (void)state;
    struct told t = { 0 };
    uint64_t end;
    _Atomic uint64_t *limit = shared_get(BYTES("limit"), 64);
    uint64_t *other = shared_get(BYTES("other size"), 8192);
    atomic_store(limit, 42);
    other[0] = 7;
    int fd = shared_area(&end);
    assert_true(fd >= 0 && end > 0);
    shared_each(tell, &t);
    assert_int_equal(t.count, 2);
    pid_t pid = fork();
    if (pid == 0) {
        shared_put(limit); /* this copy forgets what it has: as a new process it begins with nothing */
        shared_put(other);
        atomic_store(limit, 42);
        next_process(fd, end, &t);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(other[0], 7);
    shared_kept(); /* what it wrote beyond the end is gone */
    uint64_t *fresh = shared_get(BYTES("fresh"), 8192);
    assert_int_equal(fresh[0], 0);
    shared_put(fresh);
    shared_put(limit);
    shared_put(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_name_same_memory),
        cmocka_unit_test(another_size_is_refused),
        cmocka_unit_test(names_may_hold_anything),
        cmocka_unit_test(memory_fails),
        cmocka_unit_test(servers),
        cmocka_unit_test(the_next_process_goes_on_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
