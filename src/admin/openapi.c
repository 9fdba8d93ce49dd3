/* The OpenAPI description (3.1) and the page for people, both from the table of endpoints. */
#include <stdio.h>

#include "admin/call.h"
#include "build_info.h"

static void append(void *arg, struct bytes part)
{
    text_add(arg, part);
}

/* ---- /openapi.json ---- */

static void write_schema(struct text *t, const char *key, const struct conf_struct *s)
{
    struct text schema = { 0 };
    const struct conf_writer w = { append, &schema };
    conf_write_schema(s, &w);
    json_raw(t, key, bytes_trim((struct bytes){ schema.at, schema.len - 1 })); /* without its newline */
    text_free(&schema);
}

static void write_parameter(struct text *t, struct bytes name, const char *in, const char *doc)
{
    json_begin(t, NULL, '{');
    json_text(t, "name", name);
    json_text(t, "in", bytes_from(in));
    if (doc)
        json_text(t, "description", bytes_from(doc));
    json_bool(t, "required", !doc);
    json_raw(t, "schema", BYTES("{\"type\":\"string\"}"));
    json_end(t, '}');
}

static void write_parameters(struct text *t, const struct endpoint *e)
{
    struct bytes left = bytes_from(e->path), part;
    json_begin(t, "parameters", '[');
    while (bytes_split(&left, '/', &part)) {
        if (part.len > 2 && part.ptr[0] == '{')
            write_parameter(t, (struct bytes){ part.ptr + 1, part.len - 2 }, "path", NULL);
    }
    for (const struct conf_field *f = e->query ? e->query->fields : NULL; f && f->name; f++)
        write_parameter(t, bytes_from(f->name), "query", f->doc);
    json_end(t, ']');
}

static void write_responses(struct text *t, const struct endpoint *e)
{
    json_begin(t, "responses", '{');
    json_begin(t, "200", '{');
    json_text(t, "description", bytes_from(e->summary));
    json_begin(t, "content", '{');
    json_raw(t, e->type, BYTES("{}"));
    json_end(t, '}');
    json_end(t, '}');
    json_raw(t, "default",
             BYTES("{\"description\":\"what is wrong (RFC 9457)\",\"content\":{\"application/problem+json\":"
                   "{\"schema\":{\"$ref\":\"#/components/schemas/problem\"}}}}"));
    json_end(t, '}');
}

static void write_operation(struct text *t, const struct endpoint *e)
{
    char method[16];
    struct bytes name = http_method_text(e->method);
    for (size_t i = 0; i < name.len; i++)
        method[i] = ascii_lower(name.ptr[i]);
    method[name.len] = 0;
    json_begin(t, method, '{');
    json_text(t, "summary", bytes_from(e->summary));
    write_parameters(t, e);
    if (e->text_type) {
        json_begin(t, "requestBody", '{');
        json_begin(t, "content", '{');
        json_raw(t, e->text_type, BYTES("{\"schema\":{\"type\":\"string\"}}"));
        json_end(t, '}');
        json_end(t, '}');
    }
    if (e->body) {
        json_begin(t, "requestBody", '{');
        json_begin(t, "content", '{');
        json_begin(t, "application/json", '{');
        write_schema(t, "schema", e->body);
        json_end(t, '}');
        json_end(t, '}');
        json_end(t, '}');
    }
    write_responses(t, e);
    json_end(t, '}');
}

static bool told_before(const struct endpoint *all, const struct endpoint *e)
{
    for (const struct endpoint *at = all; at < e; at++) {
        if (strcmp(at->path, e->path) == 0)
            return true;
    }
    return false;
}

void openapi_get(struct call *c)
{
    struct text *t = c->out;
    json_begin(t, NULL, '{');
    json_text(t, "openapi", BYTES("3.1.0"));
    json_begin(t, "info", '{');
    json_text(t, "title", bytes_from(c->api->title));
    json_text(t, "version", BYTES(WEIR_VERSION));
    json_end(t, '}');
    json_raw(t, "security", BYTES("[{},{\"token\":[]}]"));
    json_begin(t, "paths", '{');
    for (const struct endpoint *e = c->api->endpoints; e->path; e++) {
        if (told_before(c->api->endpoints, e))
            continue;
        json_begin(t, e->path, '{');
        for (const struct endpoint *same = e; same->path; same++) {
            if (strcmp(same->path, e->path) == 0)
                write_operation(t, same);
        }
        json_end(t, '}');
    }
    json_end(t, '}');
    json_raw(t, "components",
             BYTES("{\"securitySchemes\":{\"token\":{\"type\":\"http\",\"scheme\":\"bearer\"}},\"schemas\":{"
                   "\"problem\":{\"type\":\"object\",\"properties\":{\"type\":{\"type\":\"string\"},"
                   "\"title\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},"
                   "\"detail\":{\"type\":\"string\"},\"instance\":{\"type\":\"string\"}}}}}"));
    json_end(t, '}');
    text_add(t, BYTES("\n"));
    call_answer(c, "application/json");
}

/* ---- / ---- */

/* Nothing in it comes from outside: it is made of the table alone. */
static void write_row(struct text *t, const struct endpoint *e)
{
    bool link = e->method == HTTP_GET && !strchr(e->path, '{') && strcmp(e->path, "/v1/tap") != 0;
    text_print(t, "<tr><td>%.*s<td>", BYTES_ARG(http_method_text(e->method)));
    text_print(t, link ? "<a href=\"%s\">%s</a>" : "<code>%.0s%s</code>", e->path, e->path);
    text_print(t, "<td>%s", e->summary);
    for (const struct conf_field *f = e->query ? e->query->fields : NULL; f && f->name; f++)
        text_print(t, "<br><code>?%s=</code> %s", f->name, f->doc);
    for (const struct conf_field *f = e->body ? e->body->fields : NULL; f && f->name; f++)
        text_print(t, "<br><code>{\"%s\": ...}</code> %s", f->name, f->doc);
    if (e->text_type)
        text_print(t, "<br>a body of <code>%s</code>", e->text_type);
    text_add(t, BYTES("\n"));
}

void page_get(struct call *c)
{
    struct text *t = c->out;
    text_print(t, "<!doctype html><meta charset=utf-8><title>%s</title>", c->api->title);
    text_add(t, BYTES("<style>"
                      "body{font:16px/1.5 sans-serif;margin:2em auto;max-width:60em;padding:0 1em}"
                      "td{padding:.2em .8em .2em 0;vertical-align:top}</style>\n"));
    text_print(t, "<h1>%s " WEIR_VERSION "</h1>\n<table>\n", c->api->title);
    for (const struct endpoint *e = c->api->endpoints; e->path; e++)
        write_row(t, e);
    text_print(t,
               "</table>\n<p>What changes something needs <code>Authorization: Bearer TOKEN</code>, or a "
               "unix socket. %s\n",
               c->api->note);
    call_answer(c, "text/html; charset=utf-8");
}
