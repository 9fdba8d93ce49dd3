/* A step's request: its templates filled in, then as the bytes of HTTP/1.1. */
#include <stdio.h>

#include "load/scenario.h"
#include "proto/http1.h"

bool scenario_parts(const struct scenario_step *step, struct template_values *values, struct arena *a,
                    struct scenario_parts *ret_parts)
{
    struct scenario_part_field *fields = arena_get(a, (step->fields_count + 1) * sizeof *fields);
    struct scenario_parts p = { .method = step->method_text,
                                .path = template_print(&step->path, TEMPLATE_PATH, values, a),
                                .body = template_print(&step->body, TEMPLATE_PLAIN, values, a),
                                .fields = fields,
                                .fields_count = step->fields_count };
    if (!p.path.ptr || !p.body.ptr || !fields)
        return false;
    for (size_t i = 0; i < step->fields_count; i++) {
        fields[i].name = step->fields[i].name;
        fields[i].value = template_print(&step->fields[i].value, TEMPLATE_FIELD, values, a);
        if (!fields[i].value.ptr)
            return false;
    }
    *ret_parts = p;
    return true;
}

static bool has_host(const struct scenario_parts *p)
{
    for (size_t i = 0; i < p->fields_count; i++) {
        if (http_field_id_of(p->fields[i].name) == FIELD_HOST)
            return true;
    }
    return false;
}

struct bytes scenario_compose(const struct scenario *s, const struct scenario_parts *p, struct bytes cookies,
                              struct arena *a)
{
    bool length = p->body.len || bytes_eq(p->method, BYTES("POST")) || bytes_eq(p->method, BYTES("PUT")) ||
                  bytes_eq(p->method, BYTES("PATCH"));
    size_t size = p->method.len + p->path.len + s->target.host.len + cookies.len + p->body.len + 128;
    for (size_t i = 0; i < p->fields_count; i++)
        size += p->fields[i].name.len + p->fields[i].value.len + 4;
    char *out = arena_get(a, size), *end = out;
    if (!out)
        return BYTES_NONE;
    end += snprintf(end, size, "%.*s %.*s HTTP/1.1\r\n", BYTES_ARG(p->method), BYTES_ARG(p->path));
    if (!has_host(p))
        end = http1_put_field(end, BYTES("Host"), s->target.host);
    for (size_t i = 0; i < p->fields_count; i++)
        end = http1_put_field(end, p->fields[i].name, p->fields[i].value);
    if (cookies.len)
        end = http1_put_field(end, BYTES("Cookie"), cookies);
    if (length)
        end += snprintf(end, 48, "Content-Length: %zu\r\n", p->body.len);
    memcpy(end, "\r\n", 2);
    end += 2;
    if (p->body.len)
        memcpy(end, p->body.ptr, p->body.len);
    return (struct bytes){ out, (size_t)(end - out) + p->body.len };
}

struct bytes scenario_print(const struct scenario *s, const struct scenario_step *step,
                            struct template_values *values, struct bytes cookies, struct arena *a)
{
    struct scenario_parts p;
    return scenario_parts(step, values, a, &p) ? scenario_compose(s, &p, cookies, a) : BYTES_NONE;
}
