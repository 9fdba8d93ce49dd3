/* What `weir explain` says of the `order` filter. */
#include "gate/order_conf.h"
#include "gate/request_value.h"

static void explain_value(struct exchange *x, const struct conf_writer *w, const char *name,
                          struct bytes text)
{
    struct request_value v;
    if (!text.len || request_value_open(text, &v) != OK)
        return;
    const bool in_body = v.kind == REQUEST_VALUE_JSON;
    const struct bytes value = in_body ? v.pointer : request_value_of(&v, x, NULL);
    const struct bytes line = arena_print(&x->arena, "  %s: %s%.*s\n", name,
                                          in_body     ? "of the body's JSON, "
                                          : value.len ? ""
                                                      : "the request has none",
                                          (int)value.len, value.len ? value.ptr : "");
    if (line.ptr)
        w->write(w->arg, line);
    request_value_close(&v);
}

bool order_explain(const void *conf, const struct filter_place *place, struct exchange *x,
                   const struct conf_writer *w)
{
    static const char *const names[ORDER_TEXTS] = { "item", "quantity", "items", "user", "id",
                                                    "id",   "id",       "id",    "item" };
    static const struct bytes deeds[] = {
        [ORDER_RESERVE] = BYTES("holds what is ordered, in the ledger, or says why not\n"),
        [ORDER_STATUS] = BYTES("shows an order\n"),
        [ORDER_CONFIRM] = BYTES("an order is paid\n"),
        [ORDER_RELEASE] = BYTES("an order is given up\n"),
        [ORDER_STOCK] = BYTES("shows an item\n"),
    };
    const struct order_conf *c = conf;
    const enum order_does what = order_does(c);
    (void)place;
    if (c->admit)
        w->write(w->arg, c->admit->waiting_room ? BYTES("beyond the rate: 429 with a place in the line\n")
                                                : BYTES("beyond the rate: 429\n"));
    w->write(w->arg, deeds[what]);
    for (unsigned i = 0; i < ORDER_TEXTS; i++) {
        if (what == ORDER_RESERVE || i != ORDER_AT_ID) /* only an order has a client's id */
            explain_value(x, w, names[i], order_texts(c)[i]);
    }
    return true;
}
