/* COMMAND DOCS: of weir's own commands; those of Redis every client knows. */
#include "gate/resp.h"

static const struct doc {
    const char *name, *group, *arguments, *summary;
} docs[] = {
    { "LOCK.ACQUIRE", "lock", "name lease_ms [WAIT ms] [KEEP]",
      "Takes a lock, or waits in line for it; its fencing token" },
    { "LOCK.RELEASE", "lock", "name token", "Gives a lock back" },
    { "LOCK.RENEW", "lock", "name token lease_ms", "Holds a lock longer" },
    { "LOCK.STATUS", "lock", "name", "Who holds a lock, and how many wait" },
    { "QUEUE.ACK", "queue", "topic group id [id ...]", "What was pulled is done; how many" },
    { "QUEUE.COMMIT", "queue", "topic handle", "A prepared or delayed message is published now; its id" },
    { "QUEUE.DEAD", "queue", "topic [GROUP group] [FROM id] [COUNT n]", "A topic's dead letters" },
    { "QUEUE.DROP", "queue", "topic [group]", "Deletes a topic, or a group" },
    { "QUEUE.EXTEND", "queue", "topic group consumer lease_ms id [id ...]",
      "Who works on these needs longer; how many" },
    { "QUEUE.GROUP", "queue",
      "topic group [FROM place] [LEASE time] [ATTEMPTS n] [BACK_OFF time] [BACK_OFF_MAX time] [DEAD_LETTER "
      "topic]",
      "Makes a group, or sets it anew" },
    { "QUEUE.INFO", "queue", "[topic [group]]", "What there is" },
    { "QUEUE.NACK", "queue", "topic group [DELAY ms] id [id ...]", "What was pulled comes again; how many" },
    { "QUEUE.PREPARE", "queue", "topic body [KEY key] [PRIORITY n] [ID id] [HEADER name value ...]",
      "Keeps a message aside until it is committed or rolled back; its handle" },
    { "QUEUE.PUBLISH", "queue",
      "topic body [KEY key] [PRIORITY n] [DELAY ms] [ID id] [HEADER name value ...]",
      "Publishes a message; its id, or with DELAY its handle" },
    { "QUEUE.PULL", "queue", "topic group consumer [COUNT n] [BLOCK ms] [LEASE ms]",
      "A group's next messages" },
    { "QUEUE.REPLAY", "queue", "topic group place", "A group goes on from there" },
    { "QUEUE.ROLLBACK", "queue", "topic handle", "A prepared or delayed message never is published" },
    { "QUEUE.TOPIC", "queue",
      "topic [KEEP time] [KEEP_BYTES n] [ORDER_BY_KEY on] [DUPLICATE_WINDOW time] [CHECK_AFTER time] "
      "[DEAD_LETTER topic]",
      "Makes a topic, or sets it anew" },
    { "STOCK.ADD", "stock", "item n", "More of an item, or fewer" },
    { "STOCK.CONFIRM", "stock", "order", "An order is paid" },
    { "STOCK.DELIVER", "stock", "order", "An order is delivered" },
    { "STOCK.GET", "stock", "item", "How many there are" },
    { "STOCK.ORDER", "stock", "order", "An order's state" },
    { "STOCK.RELEASE", "stock", "order", "An order is given up" },
    { "STOCK.RESERVE", "stock", "order user hold_ms item quantity [item quantity ...]",
      "Holds all of it, or nothing" },
    { "STOCK.RETURN", "stock", "order", "An order is brought back" },
    { "STOCK.SET", "stock", "item [TOTAL n] [PRICE n] [PER_USER n] [PER_ORDER n]",
      "Makes an item, or changes it" },
};
#define DOCS (sizeof docs / sizeof *docs)

static bool is_wanted(const struct resp_command *c, const struct doc *d)
{
    for (uint32_t i = 2; i < c->count; i++) {
        if (bytes_eq_nocase(resp_arg(c, i), bytes_from(d->name)))
            return true;
    }
    return c->count == 2;
}

static void say_pair(struct resp_client *k, const char *name, const char *value)
{
    resp_say_text(k->batch, bytes_from(name));
    resp_say_text(k->batch, bytes_from(value));
}

void resp_say_docs(struct resp_client *k, const struct resp_command *c)
{
    unsigned count = 0;
    for (unsigned i = 0; i < DOCS; i++)
        count += is_wanted(c, &docs[i]);
    resp_say_map(k, count);
    for (unsigned i = 0; i < DOCS; i++) {
        const struct doc *d = &docs[i];
        char name[32] = { 0 };
        if (!is_wanted(c, d))
            continue;
        for (unsigned n = 0; d->name[n] && n < sizeof name - 1; n++)
            name[n] = ascii_lower(d->name[n]);
        resp_say_text(k->batch, bytes_from(name));
        resp_say_map(k, 3);
        say_pair(k, "summary", d->summary);
        say_pair(k, "group", d->group);
        say_pair(k, "syntax", d->arguments);
    }
}
