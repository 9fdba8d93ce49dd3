/* The report as a page that needs nothing else: its data, and a script of our own that draws them as SVG. */
#include "load/report.h"
#include "load/report_page.h"

/* Inside <script>: "</" and "<!--" would end it. */
static void add_safely(struct text *t, struct bytes json)
{
    for (size_t from = 0, i = 0; i <= json.len; i++) {
        if (i < json.len && json.ptr[i] != '<')
            continue;
        text_add(t, (struct bytes){ json.ptr + from, i - from });
        if (i < json.len)
            text_add(t, BYTES("\\u003c"));
        from = i + 1;
    }
}

void report_html(struct text *t, const struct load_report *r, const struct report_about *about)
{
    struct text json = { 0 };
    report_json(&json, r, about);
    text_add(t, bytes_from(report_page_before));
    add_safely(t, (struct bytes){ json.at, json.len });
    text_add(t, bytes_from(report_page_after));
    text_free(&json);
}
