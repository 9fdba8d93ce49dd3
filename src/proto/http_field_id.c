#include "proto/http_field_id.h"

#include "base/must.h"

struct http_name_key http_name_keys[FIELD_COUNT];
uint8_t http_name_slots[HTTP_FIELD_SLOTS];

static const struct bytes names[FIELD_COUNT] = {
#define X(id, name) { name, sizeof(name) - 1 },
    HTTP_FIELD_LIST(X)
#undef X
};

_Static_assert(FIELD_COUNT < HTTP_FIELD_SLOTS / 2, "a lookup that misses must meet an empty slot soon");

static void add_name(unsigned id)
{
    struct bytes name = names[id];
    char mask[HTTP_FIELD_NAME_BYTES_MAX];
    must(name.len >= 2 && name.len <= sizeof mask);
    for (size_t i = 0; i < name.len; i++)
        mask[i] = (char)(name.ptr[i] >= 'a' && name.ptr[i] <= 'z' ? 0xdf : 0xff);
    struct http_name_words words = http_name_words_of(name.ptr, name.len);
    http_name_keys[id] =
        (struct http_name_key){ .want = words, .mask = http_name_words_of(mask, name.len), .len = name.len };
    unsigned slot = http_name_slot(name.ptr, name.len);
    while (http_name_slots[slot] != FIELD_OTHER)
        slot = (slot + 1) % HTTP_FIELD_SLOTS;
    http_name_slots[slot] = (uint8_t)id;
}

/* Early, so that other start-up code may already look names up. */
__attribute__((constructor(101))) static void add_names(void)
{
    for (unsigned id = FIELD_OTHER + 1; id < FIELD_COUNT; id++)
        add_name(id);
}

enum http_field_id http_field_id_of(struct bytes name)
{
    return http_field_id_find(name.ptr, name.len);
}

struct bytes http_field_id_name(enum http_field_id id)
{
    return (unsigned)id < FIELD_COUNT ? names[id] : BYTES("");
}
