#include "gate/shared.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "base/test.h"
#include "gate/filter.h"
#include "gate/handover.h"
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

/* Where huge pages are possible; whether they come is the system's affair. */
static void large_tables_lie_where_huge_pages_can(void **state)
{
    (void)state;
    const size_t size = 16u << 20, huge = 2u << 20;
    void *small = shared_get(BYTES("small"), 64);
    for (unsigned round = 0; round < 2; round++) { /* the second time in what was given back */
        char *m = shared_get(BYTES("large"), size);
        assert_non_null(m);
        assert_int_equal((uintptr_t)m % huge, 0);
        for (size_t i = 0; i < size; i += 4096) {
            assert_int_equal(m[i], 0);
            m[i] = 1;
        }
        shared_put(m);
    }
    shared_put(small);
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

/* What the other process is told, over a handover's socket. */
struct told {
    int socket;
    uint64_t offset; /* of the last */
};

static void tell(void *arg, struct bytes name, uint64_t offset, uint64_t size)
{
    struct told *t = arg;
    char line[128];
    int len = snprintf(line, sizeof line, "object %llu %llu %.*s", (unsigned long long)offset,
                       (unsigned long long)size, BYTES_ARG(name));
    t->offset = offset;
    assert_int_equal(handover_send(t->socket, (struct bytes){ line, (size_t)len }, NULL, 0, 10000), OK);
}

/* The new process: what it adopts is the same memory; what it does not ask for it keeps until the old one has
 * ended; what is no object of the area is refused. Exits 0. */
static void next_process(int socket)
{
    static struct handover_record r;
    struct bytes rest;
    uint64_t number, end = 0, offset = 0, size;
    for (;;) {
        must(handover_receive(socket, &r, 10000) == OK);
        if (handover_word(r.text, BYTES("end"), &rest))
            break;
        if (handover_word(r.text, BYTES("shared"), &rest)) {
            must(handover_number(&rest, &number) && number == 1 && handover_number(&rest, &end));
            must(r.fds_count == 1 && shared_adopt_area(r.fds[0], end) == OK);
            continue;
        }
        must(handover_word(r.text, BYTES("object"), &rest) && handover_number(&rest, &offset) &&
             handover_number(&rest, &size));
        must(shared_adopt(rest, offset, size) == OK);
    }
    must(shared_adopt(BYTES("twice"), offset, 64) == ERR_SYNTAX);
    must(shared_adopt(BYTES("beyond"), (end + 127) / 128 * 128, 64) == ERR_SYNTAX);
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
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    pid_t pid = fork(); /* before there is anything that it could have from us otherwise */
    if (pid == 0)
        next_process(pair[1]);
    struct told t = { .socket = pair[0] };
    char line[64];
    uint64_t end;
    _Atomic uint64_t *limit = shared_get(BYTES("limit"), 64);
    uint64_t *other = shared_get(BYTES("other size"), 8192);
    atomic_store(limit, 42);
    other[0] = 7;
    int fd = shared_area(&end);
    assert_true(fd >= 0 && end > 0);
    int len = snprintf(line, sizeof line, "shared 1 %llu", (unsigned long long)end);
    assert_int_equal(handover_send(pair[0], (struct bytes){ line, (size_t)len }, &fd, 1, 10000), OK);
    shared_each(tell, &t);
    assert_int_equal(handover_send(pair[0], BYTES("end"), NULL, 0, 10000), OK);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(pair[0]);
    close(pair[1]);
    assert_int_equal(other[0], 0); /* it took us for ended: what it had no use for is free */
    shared_kept();                 /* what it wrote beyond the end is gone */
    uint64_t *fresh = shared_get(BYTES("fresh"), 8192);
    assert_int_equal(fresh[0], 0);
    shared_put(fresh);
    shared_put(limit);
    shared_put(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_process_goes_on_with_it), /* first: it forks */
        cmocka_unit_test(same_name_same_memory),
        cmocka_unit_test(another_size_is_refused),
        cmocka_unit_test(large_tables_lie_where_huge_pages_can),
        cmocka_unit_test(names_may_hold_anything),
        cmocka_unit_test(memory_fails),
        cmocka_unit_test(servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
