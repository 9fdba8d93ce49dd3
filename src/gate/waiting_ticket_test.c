#include "gate/waiting_ticket.h"

#include "base/mem.h"
#include "base/test.h"

#if WEIR_HAVE_OPENSSL
static void a_ticket_is_good_for_whom_it_was_given_to(void **unused)
{
    (void)unused;
    struct waiting_room *w = mem_get_aligned(sizeof *w, 64), *other = mem_get_aligned(sizeof *w, 64);
    char text[WAITING_TICKET_BYTES];
    const struct bytes t = { text, sizeof text };
    const struct waiting_whose ann = { .route = BYTES("/buy"), .user = BYTES("ann") };
    const struct waiting_whose bob = { .route = BYTES("/buy"), .user = BYTES("bob") };
    const struct waiting_whose elsewhere = { .route = BYTES("/sell"), .user = BYTES("ann") };
    const struct waiting_whose shifted = { .route = BYTES("uy"), .user = BYTES("ann\n/b") };
    const struct waiting_whose keyed = { .key = BYTES("0123456789abcdef"),
                                         .route = ann.route,
                                         .user = ann.user };
    waiting_room_ready(w);
    waiting_room_ready(other);
    waiting_ticket_write(w, &ann, 4711, 1000, text);
    waiting_room_ready(w); /* by another worker: nothing changes */
    assert_int_equal(waiting_ticket_read(w, &ann, t, 999), 4711);
    assert_int_equal(waiting_ticket_read(w, &ann, t, 1000), 4711);
    assert_int_equal(waiting_ticket_read(w, &ann, t, 1001), 0);
    assert_int_equal(waiting_ticket_read(w, &bob, t, 999), 0);
    assert_int_equal(waiting_ticket_read(w, &elsewhere, t, 999), 0);
    assert_int_equal(waiting_ticket_read(w, &shifted, t, 999), 0);
    assert_int_equal(waiting_ticket_read(w, &keyed, t, 999), 0);
    assert_int_equal(waiting_ticket_read(other, &ann, t, 999), 0);
    assert_int_equal(waiting_ticket_read(w, &ann, (struct bytes){ text, sizeof text - 1 }, 999), 0);
    for (unsigned i = 0; i < sizeof text; i++) { /* whatever is changed in it */
        const char was = text[i];
        text[i] = was == '0' ? '1' : '0';
        assert_int_equal(waiting_ticket_read(w, &ann, t, 0), 0);
        text[i] = 'x';
        assert_int_equal(waiting_ticket_read(w, &ann, t, 0), 0);
        text[i] = was;
    }
    waiting_ticket_write(w, &keyed, UINT64_MAX, UINT32_MAX, text);
    assert_int_equal(waiting_ticket_read(w, &keyed, t, 999), UINT64_MAX);
    mem_free(w);
    mem_free(other);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#if WEIR_HAVE_OPENSSL
        cmocka_unit_test(a_ticket_is_good_for_whom_it_was_given_to),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
