/* X-Forwarded-For and Forwarded: lines of text, the first byte chooses the field. Whatever comes, an address
 * is the outcome, or a refusal; and what a client wrote in front of an entry that a trusted proxy has
 * appended never becomes the client. */
#include <stdio.h>

#include "fuzz.h"
#include "gate/trusted_proxies.h"

#define FIELDS_MAX 16
#define REAL "203.0.113.7"

static struct trusted_proxies *opened(enum forwarded_field header)
{
    static struct bytes from = { "10.0.0.0/8", 10 };
    const struct trusted_proxies_conf c = { .from = { &from, 1 }, .header = (int)header };
    struct trusted_proxies *t;
    fuzz_check(trusted_proxies_open(&c, &t, NULL) == OK);
    return t;
}

static bool is_real(const struct addr *a)
{
    char text[ADDR_TEXT_BYTES_MAX];
    return addr_print_ip(a, text) == sizeof REAL - 1 && memcmp(text, REAL, sizeof REAL - 1) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_field room[FIELDS_MAX];
    struct http_fields fields = { .at = room, .count_max = FIELDS_MAX };
    struct addr peer;
    struct forwarded f;
    if (size < 1 || size > 8192)
        return 0;
    const enum forwarded_field header = data[0] & 1 ? FORWARDED_BY_RFC7239 : FORWARDED_BY_X;
    const struct bytes name = header == FORWARDED_BY_X ? BYTES("X-Forwarded-For") : BYTES("Forwarded");
    struct trusted_proxies *t = opened(header);
    struct bytes rest = { (const char *)data + 1, size - 1 };
    struct bytes line;
    fuzz_check(cidr_parse_ip(BYTES("10.0.0.5"), &peer) == OK);
    while (fields.count + 1 < FIELDS_MAX && bytes_split(&rest, '\n', &line))
        fuzz_check(http_fields_add(&fields, NULL, name, line) == OK);
    err e = forwarded_read(t, &fields, &peer, &f);
    fuzz_check((e == OK && f.client.len) || (e == ERR_SYNTAX && header == FORWARDED_BY_RFC7239));

    /* the proxy goes on in the last line */
    char *last = malloc(size + 64);
    fuzz_check(last != NULL);
    struct http_field *field = &fields.at[fields.count - 1];
    int len = snprintf(last, size + 64, "%s%s", header == FORWARDED_BY_X ? ", " : ", for=", REAL ", ");
    char *text = malloc(field->value_len + (size_t)len + 1);
    fuzz_check(text != NULL);
    if (field->value_len)
        memcpy(text, field->value, field->value_len);
    memcpy(text + field->value_len, last, (size_t)len);
    field->value = text;
    field->value_len += (uint32_t)len;
    e = forwarded_read(t, &fields, &peer, &f);
    fuzz_check(e == ERR_SYNTAX || is_real(&f.client));
    free(text);
    free(last);
    trusted_proxies_close(t);
    return 0;
}
